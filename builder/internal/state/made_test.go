package state

import (
	"testing"
	"time"
)

// A note holds for the directory that it was made for, not for a copy of it.
func TestMade(t *testing.T) {
	t.Parallel()
	now := time.Unix(5, 7).UTC()
	dir := t.TempDir()
	m, err := MadeAt(now, dir)
	if err != nil || !m.In(dir).Equal(now) {
		t.Errorf("%v, %v, want %v", m.In(dir), err, now)
	}
	if other := m.In(t.TempDir()); !other.IsZero() {
		t.Errorf("elsewhere it is %v", other)
	}
	if none := (*Made)(nil).In(dir); !none.IsZero() {
		t.Errorf("without a note it is %v", none)
	}
}
