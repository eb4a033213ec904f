import { assert, assertEquals } from "@std/assert";
import { createWaitingRooms, type Seat } from "./sender.ts";

const ROOM = { name: "falco", size: 10 };

Deno.test("a room takes as many requests as its size, and the other rooms go on", () => {
  const rooms = createWaitingRooms();
  const seats = Array.from({ length: 12 }, (_, index) => rooms.enter(ROOM, `10.0.0.${index % 4}`));
  assertEquals(seats.filter(Boolean).length, 10);
  assert(rooms.enter({ name: "audit", size: 1 }, "10.0.0.0"));
  seats[0]?.leave();
  assert(rooms.enter(ROOM, "10.0.0.0"));
});

Deno.test("one sender takes no more than half of a room", () => {
  const rooms = createWaitingRooms();
  const seats = Array.from({ length: 10 }, () => rooms.enter(ROOM, "10.0.0.1")).filter((seat) => seat);
  assertEquals(seats.length, 5);
  assert(rooms.enter(ROOM, "10.0.0.2"));
  seats[0]?.leave();
  assert(rooms.enter(ROOM, "10.0.0.1"));
});

Deno.test("requests whose events are all of one namespace take no more than half of a room", () => {
  const rooms = createWaitingRooms();
  const seats = Array.from({ length: 10 }, (_, index) => rooms.enter(ROOM, `10.0.0.${index}`) as Seat);
  assertEquals(seats.map((seat) => seat.only("shop")), seats.map((_, index) => index < 5));
  for (const seat of seats.slice(5)) seat.leave();
  const other = rooms.enter(ROOM, "10.0.0.1");
  assert(other?.only("pay"));
  assert(seats[0]?.only(undefined), "it has events of several namespaces now");
  assert(other?.only("shop"));
});
