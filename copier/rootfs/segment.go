package rootfs

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Segment finds the next data of an open file from at on, up to size: what is between at and data is a hole. Where the file system
// cannot tell, all is data. It moves the file's offset.
func Segment(fd int, at, size int64) (data, end int64) {
	data, err := unix.Seek(fd, at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) || (err == nil && data >= size) {
		return size, size // a hole to the end
	}
	if err != nil {
		return at, size
	}
	if end, err = unix.Seek(fd, data, unix.SEEK_HOLE); err != nil || end <= data {
		end = size
	}
	return data, min(end, size)
}
