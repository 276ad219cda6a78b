// Package capture keeps what a command writes and shows it while it runs.
package capture

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	provider "github.com/pulumi/pulumi-go-provider"
)

// shownBytes bounds one line of the progress display. The captured output is never cut.
const shownBytes = 4096

// Capture holds the output of one command. Both streams may be written at the same time.
type Capture struct {
	mu             sync.Mutex
	stdout, stderr stream
	both           bytes.Buffer
}

type stream struct {
	bytes.Buffer
	line  []byte
	shown func(string)
}

// New returns a capture that shows the chosen streams, line by line, as ephemeral status.
func New(ctx context.Context, showStdout, showStderr bool) *Capture {
	show := provider.GetLogger(ctx).InfoStatus
	c := &Capture{}
	if showStdout {
		c.stdout.shown = show
	}
	if showStderr {
		c.stderr.shown = show
	}
	return c
}

// StdoutWriter is where the command's standard output goes.
func (c *Capture) StdoutWriter() io.Writer { return writer{c, &c.stdout} }

// StderrWriter is where the command's standard error goes.
func (c *Capture) StderrWriter() io.Writer { return writer{c, &c.stderr} }

// Stdout is the standard output so far, less one final newline.
func (c *Capture) Stdout() string { return c.text(&c.stdout.Buffer) }

// Stderr is the standard error so far, less one final newline.
func (c *Capture) Stderr() string { return c.text(&c.stderr.Buffer) }

// Failure tells which command failed how, with all that it wrote. Its standard input is left out
// because that is the place for secrets.
func (c *Capture) Failure(err error, command string) error {
	return fmt.Errorf("%w: running %q:\n%s", err, command, c.text(&c.both))
}

// Flush shows what a stream ended with in place of a newline.
func (c *Capture) Flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range []*stream{&c.stdout, &c.stderr} {
		if len(s.line) > 0 {
			s.show()
		}
	}
}

func (c *Capture) text(b *bytes.Buffer) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.TrimSuffix(b.String(), "\n")
}

type writer struct {
	capture *Capture
	stream  *stream
}

func (w writer) Write(data []byte) (int, error) {
	w.capture.mu.Lock()
	defer w.capture.mu.Unlock()
	w.capture.both.Write(data)
	w.stream.Buffer.Write(data)
	if w.stream.shown != nil {
		w.stream.follow(data)
	}
	return len(data), nil
}

// follow shows every line that data completes, and cuts a line that does not end.
func (s *stream) follow(data []byte) {
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			end = len(data)
		}
		room := shownBytes - len(s.line)
		s.line = append(s.line, data[:min(end, max(room, 0))]...)
		if end == len(data) {
			return
		}
		s.show()
		data = data[end+1:]
	}
}

func (s *stream) show() {
	s.shown(string(s.line))
	s.line = s.line[:0]
}
