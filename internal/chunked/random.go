package chunked

import (
	"context"
	"math"
	"math/bits"

	"gather/internal/npy"
)

// The random sources are counter-based: element i is a hash of the seed and i, independent of chunks and machines. The
// hash is SplitMix64, the generator of Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (OOPSLA
// 2014), at any position: its state after i steps is key + i*gamma. The key is the mixed seed, so that neighbouring
// seeds do not produce shifted copies of one stream. It passes BigCrush, but is not cryptographic.

const gamma = 0x9e3779b97f4a7c15 // 2^64 over the golden ratio, odd

// mix is the finalizer of SplitMix64, Stafford's variant 13 of MurmurHash3's.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// randomKey returns the start of a seed's stream.
func randomKey(seed uint64) uint64 { return mix(seed + gamma) }

// uniform is a source of floats from the uniform distribution on [0, 1): the upper 53 bits (float64), 24 bits (float32)
// or 11 bits (float16) of the hash, as a fraction.
type uniform struct {
	dtype DType
	key   uint64
}

func (u uniform) DType() DType   { return u.dtype }
func (u uniform) Constant() bool { return false }

func (u uniform) Fill(_ context.Context, dst []byte, lo int64) error {
	z := u.key + uint64(lo)*gamma
	switch u.dtype {
	case Float64:
		for i, x := 0, view[float64](dst); i < len(x); i++ {
			z += gamma
			x[i] = float64(mix(z)>>11) * 0x1p-53
		}
	case Float32:
		for i, x := 0, view[float32](dst); i < len(x); i++ {
			z += gamma
			x[i] = float32(mix(z)>>40) * 0x1p-24
		}
	case Float16:
		for i, x := 0, view[uint16](dst); i < len(x); i++ {
			z += gamma
			x[i] = npy.Float16bits(float64(mix(z)>>53) * 0x1p-11)
		}
	}
	return nil
}

// normal is a source of floats from the normal distribution. It applies the inverse distribution function, algorithm AS
// 241 (PPND16) of Wichura, "The percentage points of the normal distribution" (Applied Statistics 37, 1988), to a
// uniform number that is never 0 or 1.
type normal struct {
	dtype      DType
	key        uint64
	loc, scale float64
}

func (n normal) DType() DType   { return n.dtype }
func (n normal) Constant() bool { return false }

func (n normal) Fill(_ context.Context, dst []byte, lo int64) error {
	z := n.key + uint64(lo)*gamma
	next := func() float64 {
		z += gamma
		p := (float64(mix(z)>>12) + 0.5) * 0x1p-52
		return n.loc + float64(n.scale*quantile(p))
	}
	switch n.dtype {
	case Float64:
		for i, x := 0, view[float64](dst); i < len(x); i++ {
			x[i] = next()
		}
	case Float32:
		for i, x := 0, view[float32](dst); i < len(x); i++ {
			x[i] = float32(next())
		}
	case Float16:
		for i, x := 0, view[uint16](dst); i < len(x); i++ {
			x[i] = npy.Float16bits(next())
		}
	}
	return nil
}

// quantile returns the inverse of the standard normal distribution function.
func quantile(p float64) float64 {
	q := p - 0.5
	if math.Abs(q) <= 0.425 {
		r := 0.180625 - float64(q*q)
		return q * ratio(&central, r)
	}
	r := p
	if q > 0 {
		r = 1 - p
	}
	r = math.Sqrt(-logarithm(r))
	var v float64
	if r <= 5 {
		v = ratio(&middle, r-1.6)
	} else {
		v = ratio(&tail, r-5)
	}
	return math.Copysign(v, q)
}

// ratio evaluates a quotient of polynomials by Horner's rule, numerator in the first row. The conversions prevent fused
// multiply-adds, which would make the last bit depend on the CPU.
func ratio(c *[2][8]float64, r float64) float64 {
	num, den := c[0][7], c[1][7]
	for i := 6; i >= 0; i-- {
		num = float64(num*r) + c[0][i]
		den = float64(den*r) + c[1][i]
	}
	return num / den
}

// The coefficients of PPND16, constant term first.
var (
	central = [2][8]float64{
		{
			3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
			4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3,
		},
		{
			1, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
			2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3,
		},
	}
	middle = [2][8]float64{
		{
			1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
			1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4,
		},
		{
			1, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
			1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9,
		},
	}
	tail = [2][8]float64{
		{
			6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
			2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7,
		},
		{
			1, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
			7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15,
		},
	}
)

// logarithm returns the natural logarithm of a positive normal number from the atanh series of the significand.
// math.Log has different code on some architectures, but a seed must have the same elements on all.
func logarithm(x float64) float64 {
	m, exp := math.Frexp(x)
	if m < math.Sqrt2/2 {
		m, exp = 2*m, exp-1
	}
	s := (m - 1) / (m + 1) // at most 0.172 in magnitude, so ten terms reach 2^-53
	s2 := float64(s * s)
	sum := 0.0
	for k := 21; k >= 1; k -= 2 {
		sum = float64(sum*s2) + 1/float64(k)
	}
	return float64(float64(exp)*math.Ln2) + float64(2*s*sum)
}

// integers is a source of integers from the uniform distribution on [low, low+span), without bias: Lemire, "Fast random
// integer generation in an interval" (ACM TOMACS 29, 2019), with another hash in the rare case of a rejection.
type integers struct {
	dtype DType
	key   uint64
	low   uint64 // two's complement
	span  uint64 // 0 for 2^64
}

func (n integers) DType() DType   { return n.dtype }
func (n integers) Constant() bool { return n.span == 1 }

func (n integers) Fill(_ context.Context, dst []byte, lo int64) error {
	z := n.key + uint64(lo)*gamma
	reject := uint64(0) // 2^64 modulo span
	if n.span != 0 {
		reject = -n.span % n.span
	}
	size := n.dtype.Size()
	for i := range len(dst) / size {
		z += gamma
		hash := mix(z)
		v := hash
		if n.span != 0 {
			var frac uint64
			v, frac = bits.Mul64(hash, n.span)
			for frac < reject {
				hash = mix(hash + gamma)
				v, frac = bits.Mul64(hash, n.span)
			}
		}
		put(dst, size, i, n.low+v)
	}
	return nil
}
