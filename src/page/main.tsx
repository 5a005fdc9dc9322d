// The page of `davit ui`, bundled by scripts/build-page.ts. Text of the server is shown by text nodes only.
import { render } from "preact";
import { App } from "./app.tsx";
import { login } from "./session.ts";
import { Store } from "./store.ts";

async function start(): Promise<void> {
  await login();
  const store = new Store();
  void store.connect();
  // The address was opened again in this tab.
  addEventListener("hashchange", () => void login());
  render(<App store={store} />, document.body);
}

void start();
