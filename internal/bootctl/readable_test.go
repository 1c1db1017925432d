package bootctl

import "testing"

func TestCanRead(t *testing.T) {
	const el7, el8, debian12 = "2.02~beta2", "2.02-150.el8", "2.06-13+deb12u2"
	rows := []struct {
		grub, fs string
		features []string
		ok       bool
	}{
		{el7, "ext4", []string{"extent", "filetype", "flex_bg", "64bit"}, true},
		{el7, "ext4", []string{"extent", "metadata_csum_seed"}, false},
		{el8, "ext4", []string{"metadata_csum_seed"}, false},
		{debian12, "ext4", []string{"metadata_csum_seed"}, true},
		{debian12, "ext4", []string{"incompat-0x80000"}, false},
		{el7, "xfs", []string{"crc", "ftype", "spinodes"}, true},
		{el7, "xfs", []string{"bigtime"}, false},
		{el8, "xfs", []string{"bigtime", "nrext64"}, true},
		{debian12, "xfs", []string{"metadir"}, false},
		{"", "xfs", []string{"bigtime"}, false},
		{debian12, "btrfs", nil, false},
	}
	for _, r := range rows {
		if err := CanRead(r.grub, r.fs, r.features); (err == nil) != r.ok {
			t.Errorf("%q reads %s %v: %v", r.grub, r.fs, r.features, err)
		}
	}
}
