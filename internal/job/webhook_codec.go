package job

import "time"

// appendWebhooks appends the webhooks of a job.
func appendWebhooks(dst []byte, hooks []Webhook) []byte {
	dst = appendUint(dst, uint64(len(hooks)))
	for _, w := range hooks {
		dst = appendBool(append(appendString(dst, w.URL), byte(w.Events)), w.Standing)
	}
	return dst
}

func (r *reader) webhooks() (hooks []Webhook) {
	n := r.count()
	if !r.enough(3 * n) {
		return nil
	}
	for range n {
		w := Webhook{URL: r.string(), Events: WebhookEvents(r.uint()), Standing: r.bool()}
		if w.Events == 0 || w.Events&^AllEvents != 0 {
			r.fail("events of a webhook")
			return nil
		}
		hooks = append(hooks, w)
	}
	return hooks
}

// AppendBinary appends the encoded deliveries.
func (ds Deliveries) AppendBinary(dst []byte) []byte {
	dst = appendUint(append(dst, byte(format4)), uint64(len(ds)))
	for i := range ds {
		d := &ds[i]
		dst = appendUint(appendUint(dst, uint64(d.Hook)), d.Receiver)
		dst = appendTime(append(dst, byte(d.State)), d.Since)
		dst = appendTime(appendUint(dst, uint64(d.Tries)), d.NextAt)
		dst = appendUint(appendUint(dst, uint64(d.Total)), uint64(len(d.Attempts)))
		for _, a := range d.Attempts {
			dst = appendAttempt(dst, a)
		}
	}
	return dst
}

// DecodeDeliveries reads encoded deliveries, which must be all of data. Errors: as in Decode.
func DecodeDeliveries(data []byte) (Deliveries, error) {
	r := reader{b: data}
	ds := r.deliveries()
	return ds, r.end("deliveries")
}

func (r *reader) deliveries() (ds Deliveries) {
	if Format(r.uint()) != format4 {
		r.unknown("version of deliveries")
		return nil
	}
	n := r.count()
	if !r.enough(7 * n) {
		return nil
	}
	for range n {
		d := Delivery{Hook: r.count(), Receiver: r.uint(), State: r.deliveryState(), Since: r.time(), Tries: r.count(), NextAt: r.time(), Total: r.count()}
		attempts := r.count()
		if !r.enough(4 * attempts) {
			return nil
		}
		for range attempts {
			d.Attempts = append(d.Attempts, r.attempt())
		}
		ds = append(ds, d)
	}
	return ds
}

func (r *reader) deliveryState() DeliveryState {
	s := r.uint()
	if s == 0 || s >= uint64(len(deliveryStates)) {
		r.unknown("state of a delivery")
		return 0
	}
	return DeliveryState(s)
}

func appendAttempt(dst []byte, a Attempt) []byte {
	return appendString(appendUint(appendInt(appendTime(dst, a.At), int64(a.Duration)), uint64(a.Status)), a.Error)
}

func (r *reader) attempt() Attempt {
	return Attempt{At: r.time(), Duration: time.Duration(r.int()), Status: r.count(), Error: r.string()}
}

// change appends a change of a delivery.
func (e *encoder) change(c *DeliveryChange) {
	e.needs(format4)
	e.b = appendUint(appendUint(e.b, uint64(c.Hook)), uint64(c.Total))
	if e.b = appendBool(e.b, c.Attempt != nil); c.Attempt != nil {
		e.b = append(appendAttempt(e.b, *c.Attempt), byte(c.State))
	}
	e.b = appendTime(e.b, c.NextAt)
}

func (r *reader) change() (c DeliveryChange) {
	c.Hook, c.Total = r.count(), r.count()
	if r.bool() {
		a := r.attempt()
		c.Attempt, c.State = &a, r.deliveryState()
	}
	c.NextAt = r.time()
	return c
}
