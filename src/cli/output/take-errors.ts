/**
 * Has the errors of an output until it is disposed of, in place of the listener of main.ts, which ends the process at
 * once. After an error it stays, since further errors have the same reason.
 */
export function takeErrors(
  output: NodeJS.WriteStream,
  onError: (error: NodeJS.ErrnoException) => void,
): Disposable {
  const others = output.listeners("error") as ((error: Error) => void)[];
  output.removeAllListeners("error");
  // Not `output.errored`: node resets it for stdout and stderr, which it never destroys.
  let hasFailed = false;
  output.on("error", (error: NodeJS.ErrnoException) => {
    hasFailed = true;
    onError(error);
  });
  return {
    [Symbol.dispose]: () => {
      if (hasFailed) return;
      output.removeAllListeners("error");
      for (const other of others) output.on("error", other);
    },
  };
}
