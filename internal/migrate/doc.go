// Package migrate turns a device with one system into an A/B device, in place.
//
// So far it looks and plans: a Survey is what is known of a machine
// (SurveyLive) or of a disk image (SurveyImage), and NewPlan is a pure
// function from it to a Plan, or to every reason why there is none.
//
// Invariant: nothing in this package writes.
package migrate
