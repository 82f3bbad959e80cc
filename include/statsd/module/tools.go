//go:build tools

// Package tools names the program that this module builds, so that go.mod and go.sum pin all it is made of.
package tools

import _ "github.com/prometheus/statsd_exporter"
