// SPDX-License-Identifier: Apache-2.0
//
// The broker's plain types into and out of airstore.control.v1.
// Threads: pure functions.
#pragma once

#include <airstore/control/v1/control.pb.h>

#include <vector>

#include "broker/admin_client.h"
#include "broker/broker_api.h"

namespace airstore::broker {

// Every text in it becomes UTF-8: whoever reads a message refuses it as a whole otherwise.
void MakeText(google::protobuf::Message* message);
// Long lists in several messages.
std::vector<control::v1::Response> InParts(control::v1::Response whole);

MountSpec FromWire(const control::v1::MountRequest& from);

void ToWire(const Failure& from, control::v1::Failure* to);
void ToWire(const MountStatus& from, control::v1::MountInfo* to);
void ToWire(const BrokerStatus& from, control::v1::StatusResponse* to);
void ToWire(const WorkspaceEntry& from, control::v1::WorkspaceEntry* to);
void ToWire(const DirtyFile& from, control::v1::DirtyFile* to);
void ToWire(const LostFile& from, control::v1::LostItem* to);
void ToWire(const TokenEntry& from, control::v1::TokenEntry* to);
void ToWire(const AccessEntry& from, control::v1::AccessEvent* to);
void ToWire(const Evicted& from, control::v1::EvictResponse* to);
void ToWire(const StoreCheckState& from, control::v1::StoreCheckState* to);
void ToWire(const GatewayReport& from, control::v1::GatewayState* to);

}  // namespace airstore::broker
