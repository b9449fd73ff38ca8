package layer

import "hash/crc64"

// crcOfZeros is the checksum crc of what has n zeros more, without a look at each of them: a zero byte multiplies the checksum, taken as a
// polynomial whose highest bit is 1, by x^8.
func crcOfZeros(crc uint64, n int64) uint64 {
	crc = ^crc // crc64 keeps it inverted
	for power := uint64(1) << (63 - 8); n > 0; n >>= 1 {
		if n&1 != 0 {
			crc = crcTimes(crc, power)
		}
		power = crcTimes(power, power)
	}
	return ^crc
}

// crcTimes multiplies two polynomials, modulo the checksum's.
func crcTimes(a, b uint64) (product uint64) {
	for ; a != 0; a <<= 1 {
		if a&(1<<63) != 0 {
			product ^= b
		}
		odd := b & 1
		b >>= 1
		if odd != 0 {
			b ^= crc64.ISO
		}
	}
	return product
}
