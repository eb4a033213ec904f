/** A change that any part may announce and any part may act on, for example that sources must be evaluated again. */
export class ChangeSignal {
  readonly #listeners = new Set<() => void>();

  /** Calls every listener. */
  raise(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  /** Calls `listener` at each change, until disposed of. */
  subscribe(listener: () => void): Disposable {
    // Two subscriptions of one function are two.
    const own = () => listener();
    this.#listeners.add(own);
    return { [Symbol.dispose]: () => void this.#listeners.delete(own) };
  }
}
