package zarr

import (
	"encoding/binary"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/npy"
)

// parseFill returns a fill value as one element, in the machine's byte order. Errors: ErrFormat.
func parseFill(raw jsontext.Value, t npy.Type) ([]byte, error) {
	u, ok := fillBits(raw, t)
	if !ok {
		return nil, formatf("fill_value %.60s, which is not a value of type %s", raw, t)
	}
	var b [8]byte
	switch t.Size {
	case 1:
		b[0] = byte(u)
	case 2:
		binary.NativeEndian.PutUint16(b[:], uint16(u))
	case 4:
		binary.NativeEndian.PutUint32(b[:], uint32(u))
	default:
		binary.NativeEndian.PutUint64(b[:], u)
	}
	return b[:t.Size], nil
}

// fillBits returns the bits of an element.
func fillBits(raw jsontext.Value, t npy.Type) (uint64, bool) {
	switch raw.Kind() {
	case 't', 'f':
		return map[jsontext.Kind]uint64{'t': 1}[raw.Kind()], t.Kind == 'b'
	case '"':
		var s string
		if json.Unmarshal(raw, &s) != nil || t.Kind != 'f' {
			return 0, false
		}
		if hex, ok := strings.CutPrefix(s, "0x"); ok {
			u, err := strconv.ParseUint(hex, 16, 8*t.Size)
			return u, err == nil && len(hex) == 2*t.Size
		}
		special := map[string]float64{"NaN": math.Float64frombits(0x7ff8 << 48), "Infinity": math.Inf(1), "-Infinity": math.Inf(-1)}
		v, ok := special[s]
		return floatBits(v, t), ok
	case '0':
	default:
		return 0, false
	}
	text := string(raw)
	if t.Kind == 'f' {
		v, err := strconv.ParseFloat(text, 64)
		return floatBits(v, t), err == nil
	}
	if len(text) > 64 {
		return 0, false
	}
	f, _, err := new(big.Float).SetPrec(256).Parse(text, 10)
	if err != nil || !f.IsInt() || f.MantExp(nil) > 65 {
		return 0, false
	}
	n, _ := f.Int(nil)
	switch {
	case t.Kind == 'b':
		return n.Uint64(), n.IsUint64() && n.Uint64() <= 1
	case t.Kind == 'u':
		return n.Uint64(), n.Sign() >= 0 && n.BitLen() <= 8*t.Size
	}
	low := new(big.Int).Lsh(big.NewInt(-1), uint(8*t.Size-1))
	return uint64(n.Int64()), n.Cmp(low) >= 0 && n.Cmp(new(big.Int).Neg(low)) < 0
}

func floatBits(v float64, t npy.Type) uint64 {
	switch t.Size {
	case 2:
		return uint64(npy.Float16bits(v))
	case 4:
		return uint64(math.Float32bits(float32(v)))
	}
	return math.Float64bits(v)
}
