package remote

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	provider "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"golang.org/x/crypto/ssh"

	"lvs-dr-lab/toolchain/command/capture"
)

// Command is a command on a remote host.
type Command struct{}

// CommandInputs is what a program says about a remote command.
type CommandInputs struct {
	Connection             *Connection        `pulumi:"connection" provider:"secret"`
	Create                 *string            `pulumi:"create,optional"`
	Update                 *string            `pulumi:"update,optional"`
	Delete                 *string            `pulumi:"delete,optional"`
	Stdin                  *string            `pulumi:"stdin,optional"`
	Environment            *map[string]string `pulumi:"environment,optional"`
	Logging                *Logging           `pulumi:"logging,optional"`
	AddPreviousOutputInEnv *bool              `pulumi:"addPreviousOutputInEnv,optional"`
	Triggers               *[]any             `pulumi:"triggers,optional" provider:"replaceOnChanges"`
}

// CommandOutputs adds what the last command wrote.
type CommandOutputs struct {
	CommandInputs
	Stdout string `pulumi:"stdout"`
	Stderr string `pulumi:"stderr"`
}

// Logging chooses the streams that are shown while the command runs.
type Logging string

// Values lists the choices for the schema.
func (Logging) Values() []infer.EnumValue[Logging] {
	return []infer.EnumValue[Logging]{
		{Name: "Stdout", Value: capture.LogStdout, Description: "Show stdout but not stderr."},
		{Name: "Stderr", Value: capture.LogStderr, Description: "Show stderr but not stdout."},
		{Name: "StdoutAndStderr", Value: capture.LogStdoutAndStderr, Description: "Show both."},
		{Name: "None", Value: capture.LogNone, Description: "Show neither."},
	}
}

// Annotate describes the resource in the schema.
func (c *Command) Annotate(a infer.Annotator) {
	a.Describe(&c, "A command on a remote host, run over SSH.")
}

// Annotate describes the inputs in the schema.
func (c *CommandInputs) Annotate(a infer.Annotator) {
	a.Describe(&c.Connection, "How to reach the host.")
	a.Describe(&c.Create, "Command of the resource's creation.")
	a.Describe(&c.Update, "Command of a change of its inputs. Unset: the one of its creation.")
	a.Describe(&c.Delete, "Command of its deletion.")
	a.Describe(&c.Stdin, "Text for the command's standard input; never shown in an error.")
	a.Describe(&c.Environment, "Variables for the command, where the SSH server's AcceptEnv lets them pass.")
	a.Describe(&c.Logging, "Streams to show while the command runs. Unset: both.")
	a.Describe(&c.AddPreviousOutputInEnv, "Whether an update or deletion finds the last output in the variables "+
		"PULUMI_COMMAND_STDOUT and PULUMI_COMMAND_STDERR. Unset: yes.")
	a.Describe(&c.Triggers, "Any values; a change of one replaces the resource.")
}

// Annotate describes the outputs in the schema.
func (c *CommandOutputs) Annotate(a infer.Annotator) {
	a.Describe(&c.Stdout, "Standard output of the last command, less its final newline.")
	a.Describe(&c.Stderr, "Standard error of the last command, less its final newline.")
}

// Create runs the command of the creation.
func (*Command) Create(
	ctx context.Context, req infer.CreateRequest[CommandInputs],
) (infer.CreateResponse[CommandOutputs], error) {
	state := CommandOutputs{CommandInputs: req.Inputs}
	id, err := resource.NewUniqueHex(req.Name, 8, 0)
	if err != nil || req.DryRun || req.Inputs.Create == nil {
		return infer.CreateResponse[CommandOutputs]{ID: id, Output: state}, err
	}
	err = state.run(ctx, *req.Inputs.Create, nil)
	return infer.CreateResponse[CommandOutputs]{ID: id, Output: state}, err
}

// Update runs the command of a change.
func (*Command) Update(
	ctx context.Context, req infer.UpdateRequest[CommandInputs, CommandOutputs],
) (infer.UpdateResponse[CommandOutputs], error) {
	state := CommandOutputs{CommandInputs: req.Inputs, Stdout: req.State.Stdout, Stderr: req.State.Stderr}
	command := req.Inputs.Update
	if command == nil {
		command = req.Inputs.Create
	}
	if req.DryRun || command == nil {
		return infer.UpdateResponse[CommandOutputs]{Output: state}, nil
	}
	err := state.run(ctx, *command, state.previous())
	return infer.UpdateResponse[CommandOutputs]{Output: state}, err
}

// Delete runs the command of the deletion, over the connection that the state holds.
func (*Command) Delete(
	ctx context.Context, req infer.DeleteRequest[CommandOutputs],
) (infer.DeleteResponse, error) {
	if req.State.CommandInputs.Delete == nil {
		return infer.DeleteResponse{}, nil
	}
	state := req.State
	return infer.DeleteResponse{}, state.run(ctx, *state.CommandInputs.Delete, state.previous())
}

func (o *CommandOutputs) previous() map[string]string {
	return capture.PreviousOutput(o.AddPreviousOutputInEnv, o.Stdout, o.Stderr)
}

// run connects, runs the command and takes its output into the state.
func (o *CommandOutputs) run(ctx context.Context, command string, previous map[string]string) error {
	host, err := o.Connection.dial(ctx)
	if err != nil {
		return err
	}
	defer host.Close()
	session, err := host.NewSession()
	if err != nil {
		return fmt.Errorf("no session on %s: %w", o.Connection.address(), err)
	}
	defer session.Close()
	// Cancelling takes the connection from under the command: one that hangs must not hang the program.
	stop := context.AfterFunc(ctx, func() {
		_ = session.Signal(ssh.SIGTERM)
		_ = host.Client.Close()
	})
	defer stop()
	if err := o.setEnvironment(ctx, session, previous); err != nil {
		return err
	}

	logging := ""
	if o.Logging != nil {
		logging = string(*o.Logging)
	}
	showStdout, showStderr := capture.Shown(logging)
	output := capture.New(ctx, showStdout, showStderr)
	session.Stdout, session.Stderr = output.StdoutWriter(), output.StderrWriter()
	err = o.wait(ctx, session, command)
	output.Flush()
	if err != nil {
		return output.Failure(err, command)
	}
	o.Stdout, o.Stderr = output.Stdout(), output.Stderr()
	return nil
}

// setEnvironment fails for a variable the program asked for and only warns for the previous output,
// which hardly any SSH server accepts.
func (o *CommandOutputs) setEnvironment(ctx context.Context, session *ssh.Session, previous map[string]string) error {
	if o.Environment != nil {
		for _, name := range slices.Sorted(maps.Keys(*o.Environment)) {
			if err := session.Setenv(name, (*o.Environment)[name]); err != nil {
				return fmt.Errorf("the SSH server refused the variable %s, its AcceptEnv must name it: %w", name, err)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(previous)) {
		if err := session.Setenv(name, previous[name]); err != nil {
			provider.GetLogger(ctx).Warningf("the SSH server refused the variable %s: "+
				"name it in its AcceptEnv, or set addPreviousOutputInEnv to false", name)
		}
	}
	return nil
}

// wait runs the command to its end.
func (o *CommandOutputs) wait(ctx context.Context, session *ssh.Session, command string) error {
	if o.Stdin != nil {
		// A command may end without reading all of it, which is its own affair and no error.
		input, err := session.StdinPipe()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.WriteString(input, *o.Stdin)
			_ = input.Close()
		}()
	}
	err := session.Run(command)
	if ctx.Err() != nil {
		return fmt.Errorf("%w (the command may still be running)", ctx.Err())
	}
	return err
}
