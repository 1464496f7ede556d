// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>

namespace airstore::broker {

/// Runs handlers in the calling thread until the loop is stopped or out of work, like its run(). A
/// loop that has just worked looks a moment longer for the next call before it sleeps, where
/// another processor is there to make that call: waking a processor that has halted takes longer
/// than most calls. It does not look when nothing happens: an idle loop sleeps.
void RunEventLoop(boost::asio::io_context* loop);

}  // namespace airstore::broker
