package layer

import (
	"encoding/base64"
	"encoding/binary"
	"io"
	"strconv"
)

// A splitter writes the tar-split records from which storage rebuilds the tar byte for byte: headers and
// padding in full, files by name and checksum, one JSON object a line. The format is that of
// tar-split's tar/storage package; its own packer spends more time than all else here.
type splitter struct {
	w       io.Writer
	pending []byte // raw bytes since the last file
	line    []byte
	n       int
}

func newSplitter(w io.Writer) *splitter {
	return &splitter{w: w}
}

// raw takes bytes of the tar that are no file's content.
func (s *splitter) raw(b []byte) { s.pending = append(s.pending, b...) }

// file ends the entry whose header was the last of raw; crc is of its content.
func (s *splitter) file(name string, size int64, crc uint64) error {
	if err := s.segment(); err != nil {
		return err
	}
	s.line = append(s.line[:0], `{"type":1,`...)
	if plain(name) {
		s.line = append(append(append(s.line, `"name":"`...), name...), `",`...)
	} else {
		s.base64("name_raw", []byte(name))
	}
	if size == 0 {
		s.line = append(s.line, `"payload":null,`...)
	} else {
		s.line = strconv.AppendInt(append(s.line, `"size":`...), size, 10)
		s.line = append(s.line, ',')
		s.base64("payload", binary.BigEndian.AppendUint64(nil, crc))
	}
	return s.end()
}

// close writes what is left, the end marker of the tar.
func (s *splitter) close() error {
	return s.segment()
}

func (s *splitter) segment() error {
	if len(s.pending) == 0 {
		return nil
	}
	s.line = append(s.line[:0], `{"type":2,`...)
	s.base64("payload", s.pending)
	s.pending = s.pending[:0]
	return s.end()
}

func (s *splitter) base64(key string, b []byte) {
	s.line = append(append(append(s.line, '"'), key...), `":"`...)
	s.line = base64.StdEncoding.AppendEncode(s.line, b)
	s.line = append(s.line, `",`...)
}

func (s *splitter) end() error {
	s.line = strconv.AppendInt(append(s.line, `"position":`...), int64(s.n), 10)
	s.line = append(s.line, "}\n"...)
	s.n++
	_, err := s.w.Write(s.line)
	return err
}

// plain tells whether a name needs no escaping in JSON.
func plain(name string) bool {
	for i := range len(name) {
		if c := name[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return name != ""
}
