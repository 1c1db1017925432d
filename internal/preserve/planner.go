package preserve

import (
	"maps"
	"slices"
	"strings"
)

func newPlanner(old, new Tree, policy *Policy) *Planner {
	return &Planner{old: old, new: new, policy: policy, plan: &Plan{old: old}, ops: map[string]*Op{}, owners: map[string]string{}}
}

// finish turns what was collected into the plan.
func (p *Planner) finish() (*Plan, error) {
	for _, name := range slices.Sorted(maps.Keys(p.ops)) {
		p.plan.Ops = append(p.plan.Ops, *p.ops[name])
	}
	p.plan.KernelArgs = strings.Join(p.args, " ")
	return p.plan, nil
}
