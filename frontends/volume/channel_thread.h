// SPDX-License-Identifier: Apache-2.0
//
// ChannelThread: receives what the broker sends for the rest of the process's life, and waits for
// the next broker when this one has died.
//
// The end of the channel ends nothing: what is cached is served on, calls wait in the lane. A
// process of the broker's user may connect at any time; it is told what there is to adopt, and
// becomes the broker when it asks for that and there is none.
// Threads: starts one; it lives as long as the process, and sleeps unless something comes.
#pragma once

#include "frontends/volume/volume.h"

namespace airstore::volume {

// `channel` keeps its number whoever is the broker; `device` is a duplicate of the protocol's.
void StartChannelThread(int channel, UniqueFd listener, UniqueFd device, Volume* volume);

}  // namespace airstore::volume
