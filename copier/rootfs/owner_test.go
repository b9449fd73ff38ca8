package rootfs

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseOverride(t *testing.T) {
	for text, want := range map[string]Override{
		"0:0:0755":                 {Mode: 0o755},
		"5:6:4755":                 {UID: 5, GID: 6, Mode: 0o4755},
		"0:5:644:char-1-3":         {GID: 5, Mode: 0o644, Device: unix.S_IFCHR, Rdev: unix.Mkdev(1, 3)},
		"0:6:660:block-4095-1":     {GID: 6, Mode: 0o660, Device: unix.S_IFBLK, Rdev: unix.Mkdev(4095, 1)},
		"4294967294:0:0":           {UID: 4294967294},
		"1:2:100644":               {UID: 1, GID: 2, Mode: 0o644},
		"1:2:0644:something-else":  {UID: 1, GID: 2, Mode: 0o644},
		"1:2:0644:dir":             {UID: 1, GID: 2, Mode: 0o644},
		"1:2:0644:char-1-3-and-on": {UID: 1, GID: 2, Mode: 0o644},
	} {
		if got, err := parseOverride(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "0:0", "a:0:755", "-1:0:755", "4294967295:0:755", "0:4294967295:755", "4294967296:0:755", "0:0:999", "0:0:", "0x1:0:755", " 0:0:755",
		"0:0:644:char-x-3", "0:0:644:char-4096-0", "0:0:644:block-0-1048576",
	} {
		if got, err := parseOverride(text); err == nil {
			t.Errorf("%q is a record: %+v", text, got)
		}
	}
}

func FuzzParseOverride(f *testing.F) {
	for _, text := range []string{"0:0:0755", "5:6:4755:char-1-3", "1:2:3:block-4095-1048575", "a:b:c", "::"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, err := parseOverride(text)
		if err != nil {
			return
		}
		if again, err := parseOverride(o.format()); err != nil || again != o {
			t.Errorf("%q is %+v, written as %q is %+v, %v", text, o, o.format(), again, err)
		}
		if special, ok := parseCapability(o.capability()); !ok || special.UID != o.UID || special.GID != o.GID {
			t.Errorf("%+v as a capability is %+v", o, special)
		}
	})
}
