package benchreport

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

const ms = time.Millisecond

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPercentileIsNearestRank(t *testing.T) {
	twenty := make([]time.Duration, 20)
	for i := range twenty {
		twenty[i] = time.Duration(i+1) * ms
	}
	for _, tt := range []struct {
		values []time.Duration
		p      int
		want   time.Duration
	}{
		{twenty, 50, 10 * ms}, {twenty, 95, 19 * ms}, {twenty, 100, 20 * ms}, {twenty, 1, ms},
		{twenty[:1], 50, ms}, {twenty[:1], 95, ms}, {twenty[:2], 50, ms}, {twenty[:3], 50, 2 * ms},
	} {
		if got := Percentile(tt.values, tt.p); got != tt.want {
			t.Errorf("p%d of %v: %s, want %s", tt.p, tt.values, got, tt.want)
		}
	}
}

func TestSectionsAreReplacedAndTheRestIsKept(t *testing.T) {
	one, two := Section{Name: "one", Target: "x"}, Section{Name: "two", Target: "x"}
	page := "# Title\n\n" + one.Empty() + "\nText.\n\n" + two.Empty() + "\nEnd.\n"
	got, err := one.Replace(page, "\nfirst\n")
	must(t, err)
	got, err = two.Replace(got, "second")
	must(t, err)
	again, err := one.Replace(got, "first")
	must(t, err)
	begin, end := one.Marks()
	if again != got || !strings.HasPrefix(got, "# Title\n\n"+begin+"\nfirst\n"+end+"\n\nText.\n") ||
		!strings.HasSuffix(got, "\nEnd.\n") {
		t.Errorf("page:\n%s", got)
	}
	for name, bad := range map[string]string{
		"no marks": "# Title\n", "twice": page + page, "in the wrong order": end + begin,
	} {
		if _, err := one.Replace(bad, ""); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestProseIsWrapped(t *testing.T) {
	row := "| " + strings.Repeat("x ", 80) + "|"
	s := Section{Name: "one", Target: "x"}
	got, err := s.Replace(s.Empty(), strings.Repeat("word ", 30)+"\n\n"+row)
	must(t, err)
	begin, end := s.Marks()
	want := begin + "\n" + strings.TrimSpace(strings.Repeat("word ", 20)) + "\n" +
		strings.TrimSpace(strings.Repeat("word ", 10)) + "\n\n" + row + "\n" + end + "\n"
	if got != want {
		t.Errorf("page:\n%s\nwant:\n%s", got, want)
	}
}

func TestMachineAndVersions(t *testing.T) {
	got := machine(2, "processor\t: 0\nmodel name\t: Some  CPU @ 2GHz\nmodel name\t: Some CPU\n",
		"MemTotal:       24683520 kB\n")
	if got != "2 cores of Some CPU @ 2GHz, 24 GiB" {
		t.Errorf("machine %q", got)
	}
	if got := machine(4, "", ""); !strings.HasPrefix(got, "4 cores of ") ||
		!strings.HasSuffix(got, "unknown memory") {
		t.Errorf("machine without a name %q", got)
	}
	if k, e := versions("k8s-v1.36.3-etcd-v3.6.16-37cc2eaa24"); k != "v1.36.3" || e != "v3.6.16" {
		t.Errorf("versions %s and %s", k, e)
	}
	if k, e := versions("bin"); k != "unknown" || e != "unknown" {
		t.Errorf("versions %s and %s", k, e)
	}
}

func TestCPUTimeCountsChildren(t *testing.T) {
	// utime 7, stime 8, cutime 9 and cstime 10; the name is a nasty one.
	stat := "42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 7 8 9 10 20 0 1 0 100"
	if got := statTime(stat); got != 340*ms {
		t.Errorf("time %s, want 340ms", got)
	}
	if got := Memory(os.Getpid()); got < 1 {
		t.Errorf("this process uses %.2f MiB", got)
	}
	if got := fmt.Sprint(children(os.Getpid())); got != "[]" {
		t.Errorf("children %s", got)
	}
}

func TestLogSinceAnInstant(t *testing.T) {
	log := "time=2026-11-23T00:00:01.500Z level=INFO msg=old\nno time\ntime=2026-11-23T00:00:02Z " +
		"msg=new\ntime=never msg=odd\n"
	got := LogSince(log, time.Date(2026, 11, 23, 0, 0, 2, 0, time.UTC))
	if len(got) != 1 || !strings.HasSuffix(got[0], "msg=new") {
		t.Errorf("lines %q", got)
	}
}
