package health

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// scripted is a plain server that answers the n-th request of each connection with the
// n-th text, and closes the connection after the last one.
func scripted(t *testing.T, answers ...string) (base string, requests chan string) {
	requests = make(chan string, 100)
	url := listener(t, func(c net.Conn) {
		go func() {
			defer c.Close()
			r := bufio.NewReader(c)
			for _, answer := range answers {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				requests <- req.Method + " " + req.URL.String() + " " + req.Host + " " + req.Header.Get("Authorization")
				c.Write([]byte(answer))
			}
		}()
	})
	return strings.Replace(url, "https", "http", 1), requests
}

// newLine returns a line that counts how often its connection was ended by the server.
func newLine(t *testing.T) (*line, *atomic.Int64) {
	var lost atomic.Int64
	l := &line{dialer: dialer{&Config{}}, lost: func() { lost.Add(1) }}
	t.Cleanup(l.close)
	return l, &lost
}

func TestLineReadsAnswers(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	for name, c := range map[string]struct {
		answer string
		status int
		body   string
		fails  bool
	}{
		"length":       {ok, 200, "ok", false},
		"chunked":      {"HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[-]\r\n0\r\n\r\n", 500, "[-]", false},
		"to the end":   {"HTTP/1.0 200 OK\r\n\r\nold", 200, "old", false},
		"no body":      {"HTTP/1.1 204 No Content\r\n\r\n", 204, "", false},
		"interim":      {"HTTP/1.1 103 Early Hints\r\n\r\n" + ok, 200, "ok", false},
		"not HTTP":     {"SSH-2.0-x\r\n", 0, "", true},
		"cut off":      {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", 0, "", true},
		"nothing":      {"", 0, "", true},
		"much too big": {"HTTP/1.1 500 x\r\nContent-Length: 90000\r\n\r\n" + strings.Repeat("x", 90000), 500, strings.Repeat("x", bodyLimit), false},
	} {
		t.Run(name, func(t *testing.T) {
			base, requests := scripted(t, c.answer)
			l, _ := newLine(t)
			status, body, err := l.get(context.Background(), base+"/readyz?verbose", "Bearer a\r\nb")
			if status != c.status || body != c.body || (err != nil) != c.fails {
				t.Errorf("got %d %.20q %v", status, body, err)
			}
			want := "GET /readyz?verbose " + strings.TrimPrefix(base, "http://") + " Bearer ab"
			if got := <-requests; got != want {
				t.Errorf("asked %q, want %q", got, want)
			}
		})
	}
}

// TestLineIsKept: one connection as long as it lasts, reported when the server ends it
// idle, and replaced without an error by the next request.
func TestLineIsKept(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	base, _ := scripted(t, ok, ok, ok)
	l, lost := newLine(t)
	var calls []*call
	for range 6 {
		if _, _, err := l.get(context.Background(), base, ""); err != nil {
			t.Fatal(err)
		}
		calls = append(calls, l.call)
	}
	if calls[0] != calls[2] || calls[2] == calls[3] || calls[3] != calls[5] {
		t.Error("six requests were not two connections of three")
	}
	<-l.call.ended
	if n := lost.Load(); n != 2 {
		t.Errorf("%d ends reported, want 2", n)
	}
}

// TestLineClosesWhatTheServerMarks: "Connection: close" is no loss worth a redial.
func TestLineClosesWhatTheServerMarks(t *testing.T) {
	base, _ := scripted(t, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	l, lost := newLine(t)
	for range 3 {
		if _, _, err := l.get(context.Background(), base, ""); err != nil {
			t.Fatal(err)
		}
		if l.call != nil {
			t.Fatal("kept")
		}
	}
	if n := lost.Load(); n != 0 {
		t.Errorf("%d ends reported", n)
	}
}

// TestLineTrustsNoAnswerBeforeTheQuestion: what arrives unasked must not pass for the
// answer to the next request.
func TestLineTrustsNoAnswerBeforeTheQuestion(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	base, _ := scripted(t, ok+ok, ok)
	l, lost := newLine(t)
	if _, _, err := l.get(context.Background(), base, ""); err != nil {
		t.Fatal(err)
	}
	<-l.call.ended
	if lost.Load() != 1 {
		t.Error("the end was not reported")
	}
}

func TestLineGivesUpWithItsContext(t *testing.T) {
	a := newAPIServer(t)
	a.ready.Store(a.silence())
	l := &line{dialer: dialer{&Config{TLS: a.trust()}}, lost: func() { t.Error("our own end was reported") }}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for a.polls.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if _, _, err := l.get(ctx, a.URL+"/readyz", ""); !errors.Is(err, context.Canceled) || l.call != nil {
		t.Errorf("got %v, connection %v", err, l.call)
	}
	if _, _, err := l.get(context.Background(), "http://%zz", ""); !errors.Is(err, errBlind) {
		t.Errorf("bad URL: %v", err)
	}
}
