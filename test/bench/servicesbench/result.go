package servicesbench

import (
	"fmt"
	"strconv"
	"time"

	"github.com/kvip/kvip/test/benchreport"
)

// nodes is how many announce.
const nodes = 3

// columns are those of services.csv: one row for each number of Services in each run.
var columns = []string{
	"services", "run", "creating_ms", "address_p50_ms", "address_p95_ms", "address_max_ms",
	"answer_p50_ms", "answer_p95_ms", "answer_max_ms",
	"dead_node", "dead_addresses", "dead_p50_ms", "dead_max_ms", "allocator", "idle_seconds",
	"api_reads_per_s", "api_writes_per_s",
	"cpu_percent_cp1", "cpu_percent_cp2", "cpu_percent_cp3", "rss_mib_cp1", "rss_mib_cp2",
	"rss_mib_cp3", "peak_mib_cp1", "peak_mib_cp2", "peak_mib_cp3",
	"kernel", "kubernetes", "etcd", "kvip_version", "date", "machine",
}

// spread is how long something took for each of many.
type spread struct{ P50, P95, Max time.Duration }

// result is what one number of Services gave in one run.
type result struct {
	Services, Run int
	Creating      time.Duration // from the first creation to the last
	Address       spread        // from the creation of each to its address in the status
	Answer        spread        // from the creation of each to its answer to ARP
	Dead          string        // the node without power
	DeadAddresses int           // that it had
	Elsewhere     spread        // from the loss of power to the answer of another node
	Allocator     string        // the node that gave out addresses
	idle
	benchreport.Setting
	Version string
	Date    time.Time
}

// idle is what happens when nothing happens.
type idle struct {
	For           time.Duration
	Reads, Writes float64        // requests of all agents, a second
	CPU           [nodes]float64 // percent of one core
	RSS, Peak     [nodes]float64 // MiB; the peak since the agent began
}

func (r result) row() []string {
	row := []string{
		strconv.Itoa(r.Services), strconv.Itoa(r.Run), benchreport.Millis(r.Creating),
		benchreport.Millis(r.Address.P50), benchreport.Millis(r.Address.P95),
		benchreport.Millis(r.Address.Max), benchreport.Millis(r.Answer.P50),
		benchreport.Millis(r.Answer.P95), benchreport.Millis(r.Answer.Max),
		r.Dead, strconv.Itoa(r.DeadAddresses), benchreport.Millis(r.Elsewhere.P50),
		benchreport.Millis(r.Elsewhere.Max), r.Allocator,
		benchreport.Decimal(r.For.Seconds()), benchreport.Decimal(r.Reads), benchreport.Decimal(r.Writes),
	}
	for _, group := range [][nodes]float64{r.CPU, r.RSS, r.Peak} {
		for _, x := range group {
			row = append(row, benchreport.Decimal(x))
		}
	}
	return append(row, r.Kernel, r.Kubernetes, r.Etcd, r.Version, benchreport.Stamp(r.Date), r.Machine)
}

// readResults is the reverse of row, for a whole table.
func readResults(t *benchreport.Table) ([]result, error) {
	var all []result
	for i, row := range t.Rows {
		f := benchreport.Fields{Row: row}
		r := result{
			Services: f.Int(0), Run: f.Int(1), Creating: f.Millis(2),
			Address: spread{f.Millis(3), f.Millis(4), f.Millis(5)},
			Answer:  spread{f.Millis(6), f.Millis(7), f.Millis(8)}, Dead: row[9], DeadAddresses: f.Int(10),
			Elsewhere: spread{P50: f.Millis(11), Max: f.Millis(12)}, Allocator: row[13],
			idle: idle{For: time.Duration(f.Float(14) * float64(time.Second)), Reads: f.Float(15),
				Writes: f.Float(16)},
			Setting: benchreport.Setting{Kernel: row[26], Kubernetes: row[27], Etcd: row[28],
				Machine: row[31]},
			Version: row[29], Date: f.Time(30),
		}
		for n := range nodes {
			r.CPU[n], r.RSS[n], r.Peak[n] = f.Float(17+n), f.Float(20+n), f.Float(23+n)
		}
		if f.Err != nil {
			return nil, fmt.Errorf("read %s, row %d: %w", t.Path, i+1, f.Err)
		}
		all = append(all, r)
	}
	return all, nil
}

// key says which measurements need not be repeated.
type key struct {
	version       string
	services, run int
}

func (r result) key() key { return key{r.Version, r.Services, r.Run} }
