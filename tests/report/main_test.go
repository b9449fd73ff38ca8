package main

import (
	"slices"
	"strings"
	"testing"
)

func TestRender(t *testing.T) {
	t.Parallel()
	const events = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: needs podman\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:1: broken\n"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestC","Output":"quiet\n"}
{"Action":"pass","Package":"p","Test":"TestC"}
{"Action":"output","Package":"p","Test":"TestD","Output":"far\n"}
{"Action":"output","Package":"p","Test":"TestD","Output":"panic: test timed out\n"}
{"Action":"fail","Package":"p","Elapsed":1.5}
not JSON
`
	var b strings.Builder
	failed := render(strings.NewReader(events), &b)
	got := b.String()
	for _, want := range []string{"SKIP TestA: needs podman\n", "b_test.go:1: broken\n", "FAIL p 1.5s\n", "not JSON\n", "UNFINISHED TestD\npanic: test timed out\n", "1 passed, 2 failed, 1 skipped\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in:\n%s", want, got)
		}
	}
	if strings.Contains(got, "quiet") {
		t.Errorf("the output of a test that passed is shown:\n%s", got)
	}
	if want := []failure{{"p", "TestB"}, {}}; !slices.Equal(failed, want) || again(failed) {
		t.Errorf("failed is %q, want %q, and not to be run again", failed, want)
	}
}

func TestAgain(t *testing.T) {
	t.Parallel()
	one := failure{"p", "TestA/b"}
	got := leaves([]failure{one, {"p", "TestA"}, {"p", ""}, {"q", "TestA"}})
	if want := []failure{one, {"q", "TestA"}}; !slices.Equal(got, want) {
		t.Errorf("leaves are %q, want %q", got, want)
	}
	for _, c := range []struct {
		failed []failure
		want   bool
	}{
		{[]failure{one}, true},
		{nil, false},
		{[]failure{one, {"q", ""}}, false},
		{slices.Repeat([]failure{one}, mostAgain+1), false},
	} {
		if again(c.failed) != c.want {
			t.Errorf("again(%q) is %v", c.failed, !c.want)
		}
	}
}
