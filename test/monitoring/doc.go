// Package monitoring tests the alarms of deploy/monitoring with the real Prometheus: its rules
// against faults, and its scrapes against the metrics that an agent serves.
package monitoring
