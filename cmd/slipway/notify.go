package main

import (
	"net"
	"time"
)

// How much longer systemd is to wait for a service that starts, and how often it is told.
const (
	moreTime = "EXTEND_TIMEOUT_USEC=30000000"
	moreEach = 20 * time.Second
)

// holdStart has systemd, if it is what started us ($NOTIFY_SOCKET), wait for as long as a pull takes: until done is called. A service whose
// image is large would be ended while it is fetched. Who cannot be told is not.
func (g *globals) holdStart() (done func()) {
	name := g.env.plain("NOTIFY_SOCKET")
	if name == "" {
		return func() {}
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		g.store.Log.Debug("telling systemd", "error", err)
		return func() {}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		again := time.NewTicker(moreEach)
		defer again.Stop()
		for {
			_, _ = conn.Write([]byte(moreTime)) // the next one may arrive
			select {
			case <-again.C:
			case <-stop:
				return
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
		_ = conn.Close()
	}
}
