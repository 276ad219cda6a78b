package remote

import (
	"context"
	"fmt"
	"net"
	"time"

	provider "github.com/pulumi/pulumi-go-provider"
	"golang.org/x/crypto/ssh"
)

const (
	firstDelay  = 100 * time.Millisecond
	delayGrowth = 1.5
	longestWait = 5 * time.Second
	// handshakeShare times the per-dial time-out is what a server may take to log a client in once
	// it has accepted the connection: an emulated machine needs seconds for its key exchange, and a
	// port that accepts and stays mute must not hold an attempt for ever.
	handshakeShare = 4
)

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// client is an SSH connection with everything it rests on.
type client struct {
	*ssh.Client
	below []func()
}

// Close ends the connection and then what carried it.
func (c *client) Close() {
	_ = c.Client.Close()
	for i := len(c.below) - 1; i >= 0; i-- {
		c.below[i]()
	}
}

// dial connects, through the bastion host where there is one.
func (c *Connection) dial(ctx context.Context) (*client, error) {
	if c.Proxy == nil {
		return c.Endpoint.dial(ctx, (&net.Dialer{}).DialContext)
	}
	bastion, err := c.Proxy.Endpoint.dial(ctx, (&net.Dialer{}).DialContext)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	target, err := c.Endpoint.dial(ctx, bastion.DialContext)
	if err != nil {
		bastion.Close()
		return nil, err
	}
	target.below = append([]func(){bastion.Close}, target.below...)
	return target, nil
}

// dial tries until it is logged in, the limit of errors is passed, or ctx ends. Refused log-ins count
// as errors like refused connections: a booting machine may not have its users yet.
func (e *Endpoint) dial(ctx context.Context, dial dialer) (*client, error) {
	config, releaseAgent, err := e.clientConfig()
	if err != nil {
		return nil, err
	}
	limit := 10
	if e.DialErrorLimit != nil {
		limit = *e.DialErrorLimit
	}
	delay := firstDelay
	for failures := 1; ; failures++ {
		connected, err := e.attempt(ctx, dial, config)
		if err == nil {
			return &client{Client: connected, below: []func(){releaseAgent}}, nil
		}
		if limit >= 0 && failures > limit {
			releaseAgent()
			return nil, fmt.Errorf("no connection to %s after %d failed attempts: %w", e.address(), failures, err)
		}
		if ctx.Err() == nil {
			provider.GetLogger(ctx).InfoStatusf("attempt %d to connect failed, next in %s: %v",
				failures, delay.Round(firstDelay), err)
		}
		select {
		case <-ctx.Done():
			releaseAgent()
			return nil, fmt.Errorf("no connection to %s: %w (last error: %w)", e.address(), ctx.Err(), err)
		case <-time.After(delay):
		}
		delay = min(time.Duration(float64(delay)*delayGrowth), longestWait)
	}
}

// attempt makes one connection; cancelling ctx ends it at any point.
func (e *Endpoint) attempt(ctx context.Context, dial dialer, config *ssh.ClientConfig) (*ssh.Client, error) {
	seconds := 15
	if e.PerDialTimeout != nil {
		seconds = *e.PerDialTimeout
	}
	limit := time.Duration(seconds) * time.Second

	dialCtx, endDial := within(ctx, limit)
	defer endDial()
	conn, err := dial(dialCtx, "tcp", e.address())
	if err != nil {
		return nil, err
	}
	loginCtx, endLogin := within(ctx, handshakeShare*limit)
	defer endLogin()
	// A connection inside another SSH connection knows no deadlines, but every one can be closed.
	stop := context.AfterFunc(loginCtx, func() { _ = conn.Close() })
	sshConn, channels, requests, err := ssh.NewClientConn(conn, e.address(), config)
	if !stop() && err == nil {
		err = loginCtx.Err()
	}
	if err != nil {
		_ = conn.Close()
		if loginCtx.Err() != nil {
			err = fmt.Errorf("%w while logging in: %w", loginCtx.Err(), err)
		}
		return nil, err
	}
	return ssh.NewClient(sshConn, channels, requests), nil
}

func within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, limit)
}
