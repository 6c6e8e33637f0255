package transfer

import "encoding/binary"

// AppendHead appends the head of a stream.
func AppendHead(dst []byte, version uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, magic...), version)
}

// AppendRecord appends record n, with a right checksum.
func AppendRecord(dst []byte, n uint64, kind byte, payload []byte) []byte {
	dst = append(binary.AppendUvarint(append(dst, kind), uint64(len(payload))), payload...)
	return binary.BigEndian.AppendUint32(dst, checksum(n, kind, payload))
}

// AppendTotals appends the payload of the first record and of the last.
func AppendTotals(dst []byte, t Totals) []byte { return t.append(dst) }
