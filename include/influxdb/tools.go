//go:build tools

// Package tools names the programs that this module builds, so that go.mod and go.sum pin all they are made of.
package tools

import (
	_ "github.com/influxdata/influxdb/v2/cmd/influxd"
	// Builds flux's Rust library while cgo asks for it.
	_ "github.com/influxdata/pkg-config"
)
