package imagebuildah

import (
	"strings"
	"testing"
)

// TestNoFile: options without a build file are an error, not a crash.
func TestNoFile(t *testing.T) {
	t.Parallel()
	if _, err := newJob(nil, Options{}); err == nil || !strings.Contains(err.Error(), "no build file") {
		t.Errorf("got %v", err)
	}
}
