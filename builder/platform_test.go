package builder

import "testing"

func TestParsePlatform(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Platform{
		"linux/amd64":    {OS: "linux", Arch: "amd64"},
		"linux/arm64/v8": {OS: "linux", Arch: "arm64", Variant: "v8"},
		"linux/aarch64":  {OS: "linux", Arch: "arm64"},
		"armhf":          {Arch: "arm", Variant: "v7"},
		"linux/armhf/v6": {OS: "linux", Arch: "arm", Variant: "v6"},
		"/":              {},
		"/arm":           {Arch: "arm"},
		"windows/":       {OS: "windows"},
		"local":          {},
		"linux":          {OS: "linux"},
		"Windows":        {OS: "windows"},
		"riscv64":        {Arch: "riscv64"},
		"LINUX/X86_64":   {OS: "linux", Arch: "amd64"},
	} {
		if got, err := ParsePlatform(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"a/b/c/d", "linux/a b", "linux/amd64:x"} {
		if _, err := ParsePlatform(text); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}
