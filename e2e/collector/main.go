// The OpenTelemetry Collector's own receiver of OTLP over gRPC, without the rest of the Collector: what arrives is
// appended to a file, one line of OTLP as JSON for each batch, by the Collector's own encoder.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
)

func main() {
	if len(os.Args) != 3 && len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: collector HOST:PORT FILE [CERTIFICATE KEY]")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "collector:", err)
		os.Exit(1)
	}
}

// Lines of one file, each whole.
type lines struct {
	mutex sync.Mutex
	file  *os.File
}

func (l *lines) add(line []byte, err error) error {
	if err != nil {
		return err
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	_, err = l.file.Write(append(line, '\n'))
	return err
}

func run(address, path string, tls []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	written := &lines{file: file}
	toTraces, err := consumer.NewTraces(func(_ context.Context, traces ptrace.Traces) error {
		return written.add((&ptrace.JSONMarshaler{}).MarshalTraces(traces))
	})
	if err != nil {
		return err
	}
	toLogs, err := consumer.NewLogs(func(_ context.Context, logs plog.Logs) error {
		return written.add((&plog.JSONMarshaler{}).MarshalLogs(logs))
	})
	if err != nil {
		return err
	}

	factory := otlpreceiver.NewFactory()
	config := factory.CreateDefaultConfig()
	grpc := map[string]any{"endpoint": address}
	if len(tls) == 2 {
		grpc["tls"] = map[string]any{"cert_file": tls[0], "key_file": tls[1]}
	}
	values := map[string]any{"protocols": map[string]any{"grpc": grpc}}
	if err := component.UnmarshalConfig(confmap.NewFromStringMap(values), config); err != nil {
		return err
	}
	settings := receiver.CreateSettings{ID: component.NewID(factory.Type()), TelemetrySettings: componenttest.NewNopTelemetrySettings()}
	traces, err := factory.CreateTracesReceiver(ctx, settings, config, toTraces)
	if err != nil {
		return err
	}
	logs, err := factory.CreateLogsReceiver(ctx, settings, config, toLogs)
	if err != nil {
		return err
	}
	// Both are one server behind.
	parts := []component.Component{traces, logs}
	for _, part := range parts {
		if err := part.Start(ctx, componenttest.NewNopHost()); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	<-ctx.Done()
	for _, part := range parts {
		if err := part.Shutdown(context.Background()); err != nil {
			return err
		}
	}
	return nil
}
