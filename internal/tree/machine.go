package tree

import (
	"bufio"
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// Tools are the programs that a base image for tests has, as far as the machine
// has them: a shell and what shell scripts use.
func Tools() []string {
	return []string{
		"sh", "basename", "cat", "chgrp", "chmod", "chown", "cmp", "cp", "cut", "date", "dd", "dirname", "df", "echo", "env",
		"expr", "find", "false", "grep", "head", "hostname", "id", "install", "kill", "ln", "ls", "mkdir", "mkfifo", "mknod",
		"mktemp", "mount", "mv", "nproc", "od", "printf", "printenv", "pwd", "readlink", "realpath", "rm", "rmdir", "sed", "seq",
		"sha256sum", "sleep", "sort", "stat", "tail", "tee", "test", "touch", "tr", "true", "uname", "wc", "whoami", "xargs",
	}
}

// Machine returns a tree of this machine's programs of the given names in /bin,
// with the libraries that ldd names at the paths it names, and the few files of
// /etc that programs expect. The first program must exist, others may be missing.
func Machine(tools ...string) (Tree, error) {
	t := Tree{
		Dir("bin"), Symlink("usr/bin", "../bin"), Dir("etc"), Dir("home/joe"), Dir("root"),
		{Name: "tmp", Type: Dir("").Type, Mode: 0o1777},
		Regular("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\njoe:x:1234:1235:Joe:/home/joe:/bin/sh\n"),
		Regular("etc/group", "root:x:0:\nstaff:x:50:joe\njoe:x:1235:\nnogroup:x:65534:\n"),
	}
	libraries := map[string]bool{}
	for i, tool := range tools {
		host, err := exec.LookPath(tool)
		if err != nil {
			if i == 0 {
				return nil, fmt.Errorf("a base image needs %s: %w", tool, err)
			}
			continue
		}
		f, err := fromTarget(host, "bin/"+tool)
		if err != nil {
			return nil, err
		}
		t = append(t, f)
		for _, name := range needed(host) {
			libraries[name] = true
		}
	}
	for name := range libraries {
		f, err := fromTarget(name, strings.TrimPrefix(name, "/"))
		if err != nil {
			return nil, err
		}
		t = append(t, f)
	}
	return t, nil
}

// fromTarget reads what host leads to, through links.
func fromTarget(host, name string) (File, error) {
	real, err := filepath.EvalSymlinks(host)
	if err != nil {
		return File{}, err
	}
	return fromHost(real, name)
}

// needed returns the absolute paths that ldd names; none for a static program.
func needed(program string) (paths []string) {
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		return nil // "not a dynamic executable"
	}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		for _, word := range strings.Fields(lines.Text()) {
			if strings.HasPrefix(word, "/") {
				paths = append(paths, word)
			}
		}
	}
	return paths
}
