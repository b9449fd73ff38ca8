package userns

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
)

// idRange is a range of subordinate ids.
type idRange struct{ start, size int64 }

// subids lists the ranges that a file like /etc/subuid gives to a user, by name or by number.
func subids(r io.Reader, name string, uid int) []idRange {
	var list []idRange
	number := strconv.Itoa(uid)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(f) != 3 || f[0] != name && f[0] != number || f[0] == "" {
			continue
		}
		start, err1 := strconv.ParseInt(f[1], 10, 64)
		size, err2 := strconv.ParseInt(f[2], 10, 64)
		if err1 != nil || err2 != nil || start <= 0 || size <= 0 || start+size > 1<<32-1 {
			continue
		}
		list = append(list, idRange{start, size})
	}
	return list
}

func subidFile(file, name string, uid int) []idRange {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	return subids(f, name, uid)
}

// userName looks up the name of a uid in a passwd file.
func userName(r io.Reader, uid int) string {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Split(lines.Text(), ":")
		if len(f) > 3 && f[2] == strconv.Itoa(uid) {
			return f[0]
		}
	}
	return ""
}

func myName(uid int) string {
	f, err := os.Open("/etc/passwd")
	if err != nil {
		return ""
	}
	defer f.Close()
	return userName(f, uid)
}
