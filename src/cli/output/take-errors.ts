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
  output.on("error", onError);
  return {
    [Symbol.dispose]: () => {
      if (output.errored !== null) return;
      output.removeAllListeners("error");
      for (const other of others) output.on("error", other);
    },
  };
}
