import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

/** Something that needs a confirmation. */
export interface Question {
  readonly title: string;
  readonly text: string;
  /** The word on the button. */
  readonly verb: string;
  readonly run: () => Promise<unknown>;
}

/** Asks a question in a dialog, and shows the progress and the failure of what it is about. */
export function Confirm({
  question,
  close,
}: {
  readonly question: Question | undefined;
  readonly close: () => void;
}): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  useEffect(() => {
    setError("");
    if (question === undefined) dialog.current?.close();
    else dialog.current?.showModal();
  }, [question]);
  const run = async (): Promise<void> => {
    if (question === undefined) return;
    setBusy(true);
    try {
      await question.run();
      close();
    } catch (cause) {
      setError(cause instanceof Error ? cause.message : String(cause));
    } finally {
      setBusy(false);
    }
  };
  return (
    <dialog ref={dialog} aria-labelledby="question" onCancel={close}>
      <h2 id="question">{question?.title}</h2>
      <p class="name">{question?.text}</p>
      {error === "" ? null : <p class="error">{error}</p>}
      <div class="buttons">
        <button onClick={close}>Cancel</button>
        <button class="danger" disabled={busy} onClick={() => void run()}>
          {busy ? "Working…" : question?.verb}
        </button>
      </div>
    </dialog>
  );
}
