package npz

import "math/bits"

const (
	litBits  = 10 // of a code that the first table has
	distBits = 8
	maxCode  = 15 // bits of a code
	numLit   = 288
	numDist  = 32
)

// entry is an entry of a table of codes: the length of the code in bits 0-4, that of what follows it in bits 5-9, the kind
// in bits 10-12, and a value in bits 16-31. The end of a block has no kind, and 0 is no code.
type entry uint32

const (
	literal  entry = 1 << (10 + iota) // the value is a byte
	distance                          // the value is the least length or distance, to which what follows is added
	more                              // the value is where another table is, whose bits follow
)

func (e entry) code() uint      { return uint(e & 31) }
func (e entry) extra() uint     { return uint(e >> 5 & 31) }
func (e entry) value() int      { return int(e >> 16) }
func (e entry) is(k entry) bool { return e&k != 0 }

// symbols are the entries of the symbols of the two codes of a block, without the length of the code.
var litSymbols, distSymbols = func() (lit [numLit]entry, dist [numDist]entry) {
	for i := range 256 {
		lit[i] = entry(i)<<16 | literal
	}
	base, n := 3, 0
	for i := 257; i < 285; i++ {
		if i >= 265 && (i-265)%4 == 0 {
			n++
		}
		lit[i] = entry(base)<<16 | distance | entry(n)<<5
		base += 1 << n
	}
	lit[285] = 258<<16 | distance
	base, n = 1, 0
	for i := range 30 {
		if i >= 4 && i%2 == 0 {
			n++
		}
		dist[i] = entry(base)<<16 | distance | entry(n)<<5
		base += 1 << n
	}
	return lit, dist
}()

// invalid reports whether no data can have a symbol.
func invalid(symbol int, symbols []entry) bool {
	return symbols[symbol] == 0 && (len(symbols) == numDist || symbol != 256)
}

// build fills table with the codes of symbols with lengths, of which the first root bits are an index of the table. It
// returns false if there are no such codes.
func build(table *[]entry, lengths []uint8, symbols []entry, root uint) bool {
	var count [maxCode + 1]int
	longest, total := 0, 0
	for _, n := range lengths {
		count[n]++
		longest = max(longest, int(n))
	}
	count[0] = 0
	var next [maxCode + 2]int // the next code of each length
	code := 0
	for n := 1; n <= maxCode; n++ {
		code <<= 1
		next[n] = code
		code += count[n]
		total += count[n]
		if code > 1<<n {
			return false
		}
	}
	// Incomplete codes are those of no symbol, and of one, which has one bit.
	if code != 1<<maxCode && total > 0 && (total > 1 || longest != 1) {
		return false
	}
	t := (*table)[:0]
	for range 1 << root {
		t = append(t, 0)
	}
	// Of each first table entry with longer codes, the longest.
	var longer [1 << litBits]uint8
	first := next
	for _, n := range lengths {
		if uint(n) > root {
			i := reverse(next[n], uint(n)) & (1<<root - 1)
			longer[i] = max(longer[i], n)
		}
		next[n]++
	}
	for i, n := range longer[:1<<root] {
		if n > 0 {
			sub := uint(n) - root
			t[i] = entry(len(t))<<16 | more | entry(sub)<<5 | entry(root)
			for range 1 << sub {
				t = append(t, 0)
			}
		}
	}
	next = first
	for symbol, length := range lengths {
		n := uint(length)
		if n == 0 {
			continue
		}
		i := reverse(next[n], n)
		next[n]++
		if invalid(symbol, symbols) {
			continue
		}
		if n <= root {
			for ; i < 1<<root; i += 1 << n {
				t[i] = symbols[symbol] | entry(n)
			}
			continue
		}
		e := t[i&(1<<root-1)]
		for i >>= root; i < 1<<e.extra(); i += 1 << (n - root) {
			t[e.value()+i] = symbols[symbol] | entry(n-root)
		}
	}
	*table = t
	return true
}

// reverse returns the n bits of a code as they are read.
func reverse(code int, n uint) int { return int(bits.Reverse16(uint16(code)) >> (16 - n)) }
