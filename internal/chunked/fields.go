package chunked

import "slices"

// members are the fields of all sources.
var members = []string{
	"source", "shape", "chunks", "dtype", "fill_value", "start", "stop", "step", "num", "endpoint", "seed", "distribution",
	"loc", "scale", "low", "high", "values", "name", "url",
}

// fields is a JSON object whose values are read by name; what nobody read is a fault in the end.
type fields struct {
	faults *Faults
	keys   []string // as they came
	values map[string][]byte
	used   map[string]bool
}

// readFields splits an object. Values are not looked into, so that a fault of one does not hide those of the others.
func readFields(raw []byte, faults *Faults) (*fields, bool) {
	f := &fields{faults: faults, values: map[string][]byte{}, used: map[string]bool{}}
	s := scanner{data: raw}
	if !s.eat('{') {
		faults.add("", `is not an object: write {"source": "ones", "shape": [1000, 1000]} or the like`)
		return nil, false
	}
	for more := !s.eat('}'); more; {
		var value []byte
		key, ok := s.text()
		if ok = ok && s.eat(':'); ok {
			value, ok = s.raw()
		}
		if ok {
			more, ok = s.more('}')
		}
		if !ok {
			faults.add("", "is not valid JSON at byte %d", s.pos)
			return nil, false
		}
		if _, twice := f.values[key]; twice {
			faults.add("/"+escape(key), "is there twice: leave one out")
			continue
		}
		f.keys = append(f.keys, key)
		f.values[key] = value
	}
	if s.peek(); s.pos != len(raw) {
		faults.add("", "has something after its end, at byte %d", s.pos)
		return nil, false
	}
	return f, true
}

// has reports whether key is there and not null, which stands for the default, and counts it as known.
func (f *fields) has(key string) bool {
	f.used[key] = true
	v, ok := f.values[key]
	return ok && string(v) != "null"
}

// get returns the JSON of key; false if it is not there, or null.
func (f *fields) get(key string) ([]byte, bool) {
	if !f.has(key) {
		return nil, false
	}
	return f.values[key], true
}

func (f *fields) text(key string) (string, bool) {
	raw, ok := f.get(key)
	if !ok {
		return "", false
	}
	s := scanner{data: raw}
	v, ok := s.text()
	if !ok || s.pos != len(raw) {
		f.faults.add("/"+key, "is not a string: write it in quotes")
		return "", false
	}
	return v, true
}

func (f *fields) boolean(key string) (v, ok bool) {
	raw, ok := f.get(key)
	if !ok {
		return false, false
	}
	switch string(raw) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	f.faults.add("/"+key, "is not a boolean: write true or false")
	return false, false
}

// scalar reads one element.
func (f *fields) scalar(key string) (scalar, bool) {
	raw, ok := f.get(key)
	if !ok {
		return scalar{}, false
	}
	s := scanner{data: raw}
	v, ok := s.scalar()
	if !ok || s.pos != len(raw) {
		f.faults.add("/"+key, wantScalar)
		return scalar{}, false
	}
	return v, true
}

// integer reads a number that fits an int64.
func (f *fields) integer(key string) (int64, bool) {
	raw, ok := f.get(key)
	if !ok {
		return 0, false
	}
	s := scanner{data: raw}
	v, ok := s.scalar()
	n, fits := v.int64()
	if !ok || !fits || s.pos != len(raw) {
		f.faults.add("/"+key, "is not an integer below 2^63")
		return 0, false
	}
	return n, true
}

// rest makes a fault of every key that the source does not take, unless it is null and another source takes it: clients
// with one type for all sources send them all.
func (f *fields) rest(source string) {
	for _, key := range f.keys {
		if !f.used[key] && (string(f.values[key]) != "null" || !slices.Contains(members, key)) {
			f.faults.add("/"+escape(key), "is not a field of an array of source %q: leave it out", source)
		}
	}
}
