package main

import (
	"regexp"
	"strings"
	"unicode"
)

// escape is what colours text or moves the cursor: control sequences, and the strings that set titles and links.
var escape = regexp.MustCompile("\x1b(\\[[0-?]*[ -/]*[@-~]|[]P^_][^\x07\x1b]*(\x07|\x1b\\\\)?|[ -/]*[0-~])")

// visible is what of a line of output can be read in the end: what was written after it went back to the left edge, and one line without
// escapes and control characters. Output of commands moves no cursor.
func visible(text string) string {
	text = strings.TrimRight(text, "\r\n")
	text = text[strings.LastIndexByte(text, '\r')+1:]
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, escape.ReplaceAllString(text, ""))
}

// cut shortens a text to n columns of a terminal, and to what is visible.
func cut(text string, n int) string {
	text = visible(text)
	if columns(text) <= n {
		return text
	}
	used := 1 // the ellipsis
	for i, r := range text {
		if used += column(r); used > n {
			return text[:i] + "…"
		}
	}
	return text
}

// columns is how wide a terminal shows a text.
func columns(text string) (n int) {
	for _, r := range text {
		n += column(r)
	}
	return n
}

// wide are the characters that take two columns: those of East Asian scripts, and emoji.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{{0x1100, 0x115f, 1}, {0x2e80, 0x303e, 1}, {0x3041, 0xa4cf, 1}, {0xa960, 0xa97c, 1}, {0xac00, 0xd7a3, 1}, {0xf900, 0xfaff, 1}, {0xfe30, 0xfe6f, 1}, {0xff00, 0xff60, 1}, {0xffe0, 0xffe6, 1}},
	R32: []unicode.Range32{{0x1f300, 0x1f64f, 1}, {0x1f680, 0x1f6ff, 1}, {0x1f900, 0x1f9ff, 1}, {0x20000, 0x3fffd, 1}},
}

func column(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case unicode.Is(wide, r):
		return 2
	}
	return 1
}
