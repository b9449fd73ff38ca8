package builder

import (
	"io"
	"os"
)

// relayed returns what a command writes to: the streams, or with apart something that is no file, so that a pipe of ours is between. Commands
// of ordinary users can open a pipe again (/dev/stdout), but not a file of ours, and OCI runtimes give files that they find to the command's user.
// Two names of one file stay one stream, whose order is kept.
func relayed(stdout, stderr io.Writer, apart bool) (o, e io.Writer) {
	if !apart {
		return stdout, stderr
	}
	out, regular := regularFile(stdout)
	errs, also := regularFile(stderr)
	o, e = stdout, stderr
	if regular != nil {
		o = relay{out}
	}
	if also != nil {
		e = relay{errs}
		if regular != nil && os.SameFile(regular, also) {
			e = o
		}
	}
	return o, e
}

// relay hides that a writer is a file.
type relay struct{ io.Writer }

// regularFile returns a writer with its state if it is a regular file, or /dev/null, which must not become the command's user's either.
func regularFile(w io.Writer) (io.Writer, os.FileInfo) {
	f, ok := w.(*os.File)
	if !ok || f == nil {
		return w, nil
	}
	st, err := f.Stat()
	if err != nil {
		return w, nil
	}
	if null, err := os.Stat(os.DevNull); st.Mode().IsRegular() || err == nil && os.SameFile(st, null) {
		return w, st
	}
	return w, nil
}
