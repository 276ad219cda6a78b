// Package local holds the resource that runs commands on the operator's computer.
package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"lvs-dr-lab/toolchain/command/capture"
)

// Command is a command on the operator's computer.
type Command struct{}

// CommandInputs is what a program says about a local command.
type CommandInputs struct {
	Create                 *string            `pulumi:"create,optional"`
	Update                 *string            `pulumi:"update,optional"`
	Delete                 *string            `pulumi:"delete,optional"`
	Dir                    *string            `pulumi:"dir,optional"`
	Interpreter            *[]string          `pulumi:"interpreter,optional"`
	Stdin                  *string            `pulumi:"stdin,optional"`
	Environment            *map[string]string `pulumi:"environment,optional"`
	Logging                *Logging           `pulumi:"logging,optional"`
	AddPreviousOutputInEnv *bool              `pulumi:"addPreviousOutputInEnv,optional"`
	AssetPaths             *[]string          `pulumi:"assetPaths,optional"`
	ArchivePaths           *[]string          `pulumi:"archivePaths,optional"`
	Triggers               *[]any             `pulumi:"triggers,optional" provider:"replaceOnChanges"`
}

// CommandOutputs adds what the last command wrote to its streams and into files.
type CommandOutputs struct {
	CommandInputs
	Stdout  string                      `pulumi:"stdout"`
	Stderr  string                      `pulumi:"stderr"`
	Assets  *map[string]*resource.Asset `pulumi:"assets,optional"`
	Archive *resource.Archive           `pulumi:"archive,optional"`
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
	a.Describe(&c, "A command on the computer that runs the program.")
}

// Annotate describes the inputs in the schema.
func (c *CommandInputs) Annotate(a infer.Annotator) {
	a.Describe(&c.Create, "Command of the resource's creation.")
	a.Describe(&c.Update, "Command of a change of its inputs. Unset: the one of its creation.")
	a.Describe(&c.Delete, "Command of its deletion.")
	a.Describe(&c.Dir, "Directory to run in. Unset: the program's.")
	a.Describe(&c.Interpreter, "Program and first arguments that are given the command. Unset: /bin/sh -c.")
	a.Describe(&c.Stdin, "Text for the command's standard input; never shown in an error.")
	a.Describe(&c.Environment, "Variables for the command, next to those of the program.")
	a.Describe(&c.Logging, "Streams to show while the command runs. Unset: both.")
	a.Describe(&c.AddPreviousOutputInEnv, "Whether an update or deletion finds the last output in the variables "+
		"PULUMI_COMMAND_STDOUT and PULUMI_COMMAND_STDERR. Unset: yes.")
	a.Describe(&c.AssetPaths, "Patterns of files to give out one by one, relative to the directory.")
	a.Describe(&c.ArchivePaths, "Patterns of files to give out as one archive, relative to the directory.")
	a.Describe(&c.Triggers, "Any values; a change of one replaces the resource.")
}

// Annotate describes the outputs in the schema.
func (c *CommandOutputs) Annotate(a infer.Annotator) {
	a.Describe(&c.Stdout, "Standard output of the last command, less its final newline.")
	a.Describe(&c.Stderr, "Standard error of the last command, less its final newline.")
	a.Describe(&c.Assets, "Files that assetPaths matched, by their path relative to the directory.")
	a.Describe(&c.Archive, "Files that archivePaths matched.")
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
	if err = state.run(ctx, *req.Inputs.Create, nil); err == nil {
		err = state.collect()
	}
	return infer.CreateResponse[CommandOutputs]{ID: id, Output: state}, err
}

// Update runs the command of a change.
func (*Command) Update(
	ctx context.Context, req infer.UpdateRequest[CommandInputs, CommandOutputs],
) (infer.UpdateResponse[CommandOutputs], error) {
	state := req.State
	state.CommandInputs = req.Inputs
	command := req.Inputs.Update
	if command == nil {
		command = req.Inputs.Create
	}
	if req.DryRun || command == nil {
		return infer.UpdateResponse[CommandOutputs]{Output: state}, nil
	}
	err := state.run(ctx, *command, state.previous())
	if err == nil {
		err = state.collect()
	}
	return infer.UpdateResponse[CommandOutputs]{Output: state}, err
}

// Delete runs the command of the deletion.
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

// run runs the command and takes its output into the state.
func (o *CommandOutputs) run(ctx context.Context, command string, previous map[string]string) error {
	interpreter := []string{"/bin/sh", "-c"}
	if o.Interpreter != nil && len(*o.Interpreter) > 0 {
		interpreter = *o.Interpreter
	}
	logging := ""
	if o.Logging != nil {
		logging = string(*o.Logging)
	}
	showStdout, showStderr := capture.Shown(logging)
	output := capture.New(ctx, showStdout, showStderr)

	process := exec.CommandContext(ctx, interpreter[0], append(slices.Clone(interpreter[1:]), command)...)
	process.Stdout, process.Stderr = output.StdoutWriter(), output.StderrWriter()
	process.Env = o.environment(previous)
	if o.Dir != nil {
		// Checked here because the failure to start would name the interpreter as what is missing.
		if _, err := os.Stat(*o.Dir); err != nil {
			return fmt.Errorf("dir: %w", err)
		}
		process.Dir = *o.Dir
	}
	if o.Stdin != nil {
		process.Stdin = strings.NewReader(*o.Stdin)
	}
	// Its own process group, so that cancelling also ends what the shell started.
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	process.Cancel = func() error { return syscall.Kill(-process.Process.Pid, syscall.SIGKILL) }

	err := process.Run()
	output.Flush()
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		return output.Failure(err, command)
	}
	o.Stdout, o.Stderr = output.Stdout(), output.Stderr()
	return nil
}

func (o *CommandOutputs) environment(previous map[string]string) []string {
	variables := os.Environ()
	if o.Environment != nil {
		for name, value := range *o.Environment {
			variables = append(variables, name+"="+value)
		}
	}
	for name, value := range previous {
		variables = append(variables, name+"="+value)
	}
	return variables
}

// collect takes the files that the command left into the state.
func (o *CommandOutputs) collect() error {
	o.Assets, o.Archive = nil, nil
	dir := "."
	if o.Dir != nil {
		dir = *o.Dir
	}
	if o.AssetPaths != nil {
		assets, err := filesAsAssets(dir, *o.AssetPaths)
		if err != nil {
			return fmt.Errorf("assetPaths: %w", err)
		}
		o.Assets = &assets
	}
	if o.ArchivePaths != nil {
		assets, err := filesAsAssets(dir, *o.ArchivePaths)
		if err != nil {
			return fmt.Errorf("archivePaths: %w", err)
		}
		members := make(map[string]any, len(assets))
		for name, asset := range assets {
			members[name] = asset
		}
		archive, err := resource.NewAssetArchive(members)
		if err != nil {
			return errors.Join(errors.New("archivePaths"), err)
		}
		o.Archive = archive
	}
	return nil
}
