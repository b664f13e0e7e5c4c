package health

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serverEnv makes the test binary a server at that address, for tests that stop it.
const serverEnv = "KVIP_TEST_SERVER"

func TestMain(m *testing.M) {
	if address := os.Getenv(serverEnv); address != "" {
		if err := serveReady(address); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveReady answers every request that it reads with 200.
func serveReady(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			buffer := make([]byte, 1024)
			for {
				if _, err := conn.Read(buffer); err != nil {
					return
				}
				if _, err := conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")); err != nil {
					return
				}
			}
		}()
	}
}

// server runs another process that serves, and returns it with its base URL.
func server(t *testing.T, address string) (*os.Process, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), serverEnv+"="+address), os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process, "http://" + strings.TrimSpace(line)
}

// TestStoppedProcess: E7, a process that is stopped is dead, and alive again when it goes
// on. With sockets of IPv4, of IPv6 and of both, and without any privilege.
func TestStoppedProcess(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", "[::]:0"} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			process, url := server(t, address)
			url = strings.Replace(url, "[::]", "127.0.0.1", 1)
			w := start(t, Config{URLs: urls(url)})
			w.until(Healthy, CodeOK)
			if err := process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			w.until(Dead, CodeHung) // soft before, if this machine is so busy that the server was slow
			if err := process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			w.until(Healthy, CodeOK)
		})
	}
}

// TestAcceptsAndIsSilent: E7, a process that still accepts is not dead, however silent.
func TestAcceptsAndIsSilent(t *testing.T) {
	t.Parallel()
	w := start(t, Config{URLs: urls(listener(t, holdOpen(t)))})
	s, before := w.until(Soft, CodeSilent)
	if hasVerdict(before, Dead) || !s.Slow() || s.Latency < time.Second {
		t.Errorf("%+v after %+v", s, before)
	}
}

// TestFullQueue: a process that stopped long ago has no room for one more connection.
func TestFullQueue(t *testing.T) {
	t.Parallel()
	l := unaccepting(t)
	for range 10_000 {
		conn, err := net.DialTimeout("tcp", l.Addr().String(), 200*time.Millisecond)
		if err != nil {
			break
		}
		defer conn.Close()
	}
	w := start(t, Config{URLs: urls("https://" + l.Addr().String())})
	w.until(Dead, CodeHung)
}

// TestLooksAreFew: while nothing is wrong nobody looks at sockets, and the connection of
// the looks is closed when the server answers again.
func TestLooksAreFew(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	l := &looker{dialer: dialer{&Config{}}, server: func() string { return a.URL }}
	g := l.look(context.Background())
	if g.err != nil || g.sockets == nil || l.conn == nil {
		t.Fatalf("%+v, connection %v", g, l.conn)
	}
	kept := l.conn
	if l.look(context.Background()); l.conn != kept {
		t.Error("a second connection for the second look")
	}
	l.rest()
	if _, err := kept.Write([]byte("x")); err == nil {
		t.Error("the connection of the looks lives on")
	}
}

// TestNothingToSee: a server that is not of this host, or whose name needs a resolver.
func TestNothingToSee(t *testing.T) {
	for _, base := range []string{"", "https://192.0.2.1:6443", "https://name.invalid", "https://127.0.0.1:1", "::"} {
		l := &looker{dialer: dialer{&Config{}}, server: func() string { return base }}
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		if g := l.look(ctx); g.sockets != nil || slices.Contains([]string{"", "::"}, base) && g.err == nil {
			t.Errorf("%q: %+v", base, g)
		}
		cancel()
	}
}
