// SPDX-License-Identifier: Apache-2.0
//
// What each control request means: from a decoded request to its final response.
// Threads: the event loop.
#pragma once

#include <airstore/control/v1/control.pb.h>

#include <functional>
#include <memory>
#include <string>

#include "broker/admin_client.h"
#include "broker/broker_api.h"
#include "broker/task.h"

namespace airstore::broker {

// Of a gateway's address and an admin token.
using AdminFactory = std::function<Outcome<std::shared_ptr<AdminClient>>(const std::string& address,
                                                                         const std::string& token)>;

class ControlRequests {
 public:
  // `api` outlives every task that Answer returned.
  ControlRequests(BrokerApi& api, AdminFactory admin) : api_(api), admin_(std::move(admin)) {}

  Task<control::v1::Response> Answer(Caller caller, control::v1::Request request,
                                     ProgressFn progress);

 private:
  Task<control::v1::Response> Mount(Caller caller, control::v1::MountRequest request,
                                    ProgressFn progress);
  Task<control::v1::Response> Unmount(Caller caller, control::v1::UnmountRequest request,
                                      ProgressFn progress);
  control::v1::Response Status(const Caller& caller, const control::v1::StatusRequest& request);
  Task<control::v1::Response> Dirty(Caller caller, std::string mountpoint);
  control::v1::Response Trace(const Caller& caller, const control::v1::TraceRequest& request);
  control::v1::Response Lost(const Caller& caller, const control::v1::Request& request);
  Task<control::v1::Response> Flush(Caller caller, control::v1::FlushRequest request,
                                    ProgressFn progress);
  // The address to use, or why not.
  Task<Outcome<std::string>> GatewayFor(Caller caller, const control::v1::GatewayRef& gateway);
  Task<Outcome<std::shared_ptr<AdminClient>>> AdminFor(Caller caller,
                                                       const control::v1::GatewayRef& gateway);
  Task<control::v1::Response> GatewayStatus(Caller caller,
                                            control::v1::GatewayStatusRequest request);
  Task<control::v1::Response> Administer(Caller caller, control::v1::Request request);

  BrokerApi& api_;
  const AdminFactory admin_;
};

}  // namespace airstore::broker
