package copiertest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"golang.org/x/sys/unix"
)

// pack writes an archive of the lines that the rest of an a line quotes; how it is compressed is in the end of its name.
func (l line) pack(p string) error {
	text, err := strconv.Unquote(l.rest)
	if err != nil {
		return err
	}
	blob, err := Archive(text, path.Ext(l.name))
	if err != nil {
		return err
	}
	return os.WriteFile(p, blob, 0o600)
}

// Archive makes a tar of the lines of a tree, compressed as the end of a file's name says: .gz, .zst, .xz, anything else for not at all.
func Archive(text, ext string) ([]byte, error) {
	lines, err := parse(text)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	packed, err := compressor(&out, ext)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(packed)
	headers := map[string]*tar.Header{}
	var order []*tar.Header
	body := map[*tar.Header]string{}
	for _, l := range lines {
		if l.kind == "x" {
			key, value, _ := strings.Cut(l.rest, "=")
			headers[l.name].PAXRecords = map[string]string{"SCHILY.xattr." + key: value}
			continue
		}
		h, content, err := l.header()
		if err != nil {
			return nil, err
		}
		if first := headers[h.Linkname]; l.kind == "h" && first != nil { // as tar(1) writes it
			h.Mode, h.Uid, h.Gid, h.ModTime = first.Mode, first.Uid, first.Gid, first.ModTime
		}
		headers[l.name], body[h] = h, content
		order = append(order, h)
	}
	for _, h := range order {
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("packing %s: %w", h.Name, err)
		}
		if _, err := io.WriteString(w, body[h]); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := packed.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func (l line) header() (h *tar.Header, content string, err error) {
	sec, err := strconv.ParseInt(l.mtime, 10, 64)
	h = &tar.Header{Name: l.name, Mode: int64(l.mode), Uid: l.uid, Gid: l.gid, ModTime: time.Unix(sec, 0)}
	switch l.kind {
	case "d":
		h.Typeflag = tar.TypeDir
	case "f":
		h.Typeflag, h.Size, content = tar.TypeReg, int64(len(l.rest)), l.rest
	case "l":
		h.Typeflag, h.Linkname = tar.TypeSymlink, l.rest
	case "h":
		h.Typeflag, h.Linkname = tar.TypeLink, l.rest
	case "p":
		h.Typeflag = tar.TypeFifo
	case "c":
		h.Typeflag = tar.TypeChar
		_, err = fmt.Sscanf(l.rest, "%d:%d", &h.Devmajor, &h.Devminor)
	default:
		err = fmt.Errorf("no %q in archives: %w", l.kind, unix.EINVAL)
	}
	return h, content, err
}

func compressor(w io.Writer, ext string) (io.WriteCloser, error) {
	switch ext {
	case ".gz":
		return gzip.NewWriter(w), nil
	case ".zst":
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	case ".xz":
		return xz.NewWriter(w)
	}
	return plain{w}, nil
}

type plain struct{ io.Writer }

func (plain) Close() error { return nil }
