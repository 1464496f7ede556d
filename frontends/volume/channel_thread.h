// SPDX-License-Identifier: Apache-2.0
//
// ChannelThread: receives what the broker sends for the rest of the process's life.
//
// The end of the channel means that the broker is gone; nobody could serve a miss any more, so the
// process ends, and the mount with its open files waits for the next one.
// Threads: starts one; it lives as long as the process.
#pragma once

#include <functional>

#include "frontends/volume/volume.h"

namespace airstore::volume {

// `on_end` is called once, from the thread, when the channel has ended.
void StartChannelThread(int channel, Volume* volume, std::function<void()> on_end);

}  // namespace airstore::volume
