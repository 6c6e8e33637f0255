package browser_test

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// The page of a job shows its deliveries to webhooks, and sends one again.
func TestDeliveries(t *testing.T) {
	var status atomic.Int32
	status.Store(http.StatusServiceUnavailable)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) }))
	defer receiver.Close()
	s := serve(t, "--http-allow=127.0.0.1")
	p := open(t, s, "jobs/"+s.post(t, `{"kind":"squares","numbers":[1],"webhooks":["`+receiver.URL+`/hook"]}`))
	p.see("Webhooks")
	p.see(receiver.URL + "/hook")
	p.see("pending")
	p.see("HTTP 503")
	status.Store(http.StatusNoContent)
	p.press("Send again")
	p.see("delivered")
	p.see("HTTP 204")
}
