package benchreport

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// CPUTime is that of a process, of its running descendants, and of all it has waited for
// (proc_pid_stat(5)): a program that starts a command each second pays for it.
func CPUTime(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0 // ended meanwhile: its parent has its time
	}
	used := statTime(string(text))
	for _, child := range children(pid) {
		used += CPUTime(child)
	}
	return used
}

// statTime adds up utime, stime, cutime and cstime, in ticks of 10 ms. The name, in
// parentheses, may contain anything.
func statTime(stat string) time.Duration {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const utime = 14 - 3 // fields after the name begin with the third
	var ticks int64
	for i := utime; i < utime+4 && i < len(fields); i++ {
		n, _ := strconv.ParseInt(fields[i], 10, 64) // the kernel writes numbers
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// Memory is the resident set of a process and its descendants in MiB.
func Memory(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	total := 0.0
	if fields := strings.Fields(string(text)); len(fields) > 1 {
		pages, _ := strconv.ParseFloat(fields[1], 64)
		total = pages * float64(os.Getpagesize()) / (1 << 20)
	}
	for _, child := range children(pid) {
		total += Memory(child)
	}
	return total
}

func children(pid int) []int {
	var all []int
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range lists {
		text, _ := os.ReadFile(file) // a thread that has ended has none
		for _, field := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}
