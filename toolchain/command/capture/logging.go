package capture

// The values of the input "logging" of every command.
const (
	LogStdout          = "stdout"
	LogStderr          = "stderr"
	LogStdoutAndStderr = "stdoutAndStderr"
	LogNone            = "none"
)

// Shown tells which streams a value of the input "logging" shows; unset shows both.
func Shown(logging string) (stdout, stderr bool) {
	switch logging {
	case LogStdout:
		return true, false
	case LogStderr:
		return false, true
	case LogNone:
		return false, false
	default:
		return true, true
	}
}

// PreviousOutput is the environment through which a command sees what the one before it wrote.
// addPrevious is the input "addPreviousOutputInEnv"; unset means yes.
func PreviousOutput(addPrevious *bool, stdout, stderr string) map[string]string {
	if addPrevious != nil && !*addPrevious {
		return nil
	}
	return map[string]string{"PULUMI_COMMAND_STDOUT": stdout, "PULUMI_COMMAND_STDERR": stderr}
}
