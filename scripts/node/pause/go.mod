module zen-watcher/node/pause

go 1.24.0
