import { assertEquals } from "@std/assert";
import { errorMessage } from "./error_message.ts";

Deno.test("errorMessage() takes an error's message, its name where the message is empty, and any other value as text", () => {
  assertEquals(errorMessage(new TypeError("no such key")), "no such key");
  assertEquals(errorMessage(new RangeError()), "RangeError");
  assertEquals(errorMessage("plain"), "plain");
  assertEquals(errorMessage(undefined), "undefined");
});
