// A plugin for a test that starts it as a runtime does.
import { adjust, plugin } from "../index.ts";

await plugin({
  name: "from-options",
  index: 1,
  reconnect: true,
  createContainer: ({ container: { name } }) => adjust().env("NAME", name),
}).run();
