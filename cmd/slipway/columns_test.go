package main

import "testing"

// What a command prints cannot move the cursor or clear the screen; of a line that was written over the last state is shown.
func TestCut(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a\x1b[2Jb\tc\u009bd\nlong":                   "ab cdl…",
		"10%\r20%\r30%\r":                             "30%",
		"\x1b[1;32mok\x1b[0m":                         "ok",
		"\x1b]0;title\x07x":                           "x",
		"\x1b]8;;u\x1b\\y\x1b]8;;\x1b\\":              "y",
		"e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e": "e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e",
		"日本語の":                                        "日本語…",
		"日本語":                                         "日本語",
		"abcdef日":                                     "abcdef…",
		"a\u202eb":                                    "ab",
		"half\x1b[1":                                  "half1",
	} {
		if got := cut(text, 7); got != want {
			t.Errorf("%q: %q instead of %q", text, got, want)
		}
		if n := columns(cut(text, 7)); n > 7 {
			t.Errorf("%q: %d columns", text, n)
		}
	}
}
