// SPDX-License-Identifier: Apache-2.0
//
// One unary gRPC call as a coroutine of the event loop.
//
// gRPC finishes a call on a thread of its own. There the answer is decoded; then the coroutine is
// posted to the loop, the only thread that may resume it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "broker/gateway_channel_impl.h"
#include "broker/task.h"
#include "shm/base/fault.h"
#include "shm/base/wipe.h"

namespace airstore::broker {

struct CallContext {
  boost::asio::any_io_executor loop;
  std::shared_ptr<GatewayChannel> channel;
  Secret token;
  std::chrono::milliseconds timeout;
  // Goes with each call.
  std::vector<std::pair<std::string, std::string>> metadata = {};
};

// gRPC ends the process over a header that has anything but printable ASCII; a gateway refuses what
// is no token or session of its own.
inline void AddHeaders(const CallContext& via, grpc::ClientContext* context) {
  const auto printable = [](std::string text) {
    std::replace_if(
        text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
    return text;
  };
  std::string bearer = printable("Bearer " + via.token.text());
  const WipeAtEnd wipe(bearer);
  context->AddMetadata("authorization", bearer);
  for (const auto& [key, value] : via.metadata) context->AddMetadata(key, printable(value));
}

// `start(context, request, response, on_done)` makes the call; `decode(status, request, response)`
// makes the result from it, on a thread of gRPC's, whether the call failed or not.
template <typename Request, typename Response, typename Start, typename Decode>
auto UnaryCall(CallContext via, Request request, Start start, Decode decode)
    -> Task<std::invoke_result_t<Decode, const grpc::Status&, Request&, Response&>> {
  using Outcome = std::invoke_result_t<Decode, const grpc::Status&, Request&, Response&>;
  struct Call {
    grpc::ClientContext context;
    Request request;
    Response response;
    std::unique_ptr<Outcome> outcome;
  };
  auto call = std::make_shared<Call>();
  call->request = std::move(request);
  AddHeaders(via, &call->context);
  const auto begun = std::chrono::steady_clock::now();
  call->context.set_deadline(std::chrono::system_clock::now() + via.timeout);

  auto initiate = [&call, &via, &start, &decode, begun](auto handler) {
    using Handler = std::decay_t<decltype(handler)>;
    via.channel->Enter(&call->context);
    // std::function wants what can be copied.
    auto resume = std::make_shared<Handler>(std::move(handler));
    auto on_done = [call, resume, loop = via.loop, channel = via.channel.get(), begun,
                    decode](const grpc::Status& status) mutable {
      call->outcome = std::make_unique<Outcome>(decode(status, call->request, call->response));
      channel->Tally(std::chrono::steady_clock::now() - begun, status);
      channel->Forget(&call->context, status);
      boost::asio::post(loop, std::move(*resume));
      // From here on the coroutine may run, and end. gRPC's connection must not end with what this
      // thread holds: it would wait for this very thread. So the context, which refers to it, goes
      // first, while the pool, which waits in Shutdown, still has it.
      call.reset();
      channel->Leave();
    };
    start(&call->context, &call->request, &call->response, std::move(on_done));
    Reach(FaultPoint::kRpcSent);
  };
  co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>&, void()>(
      std::move(initiate), boost::asio::use_awaitable);
  co_return std::move(*call->outcome);
}

}  // namespace airstore::broker
