// SPDX-License-Identifier: Apache-2.0
//
// The Gateway over the services of v1 (context.ContextService), which know paths and whole files.
// What v1 cannot say is refused, or done on this side where it can be done truthfully; README has
// the list.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "broker/gateway.h"
#include "broker/v1/context_client.h"

namespace airstore::broker::v1 {

struct V1Options {
  // Of a session, in which its state is kept. It may come into being after the session is opened.
  std::function<std::string(const std::array<uint8_t, 16>& session_id)> directory_of;
  std::chrono::milliseconds age{3000};  // what the gateway said is believed for so long
  bool first_era = false;               // the gateway is one of the first: see Site
  uint32_t uid = 0;                     // whom files belong to
  uint32_t gid = 0;
};

std::unique_ptr<Gateway> MakeV1Gateway(const boost::asio::any_io_executor& loop,
                                       std::unique_ptr<ContextClient> client,
                                       const V1Options& options);

}  // namespace airstore::broker::v1
