"""What brings a thermometer to its owner without a phone: WiFi over the cable, and a page that flashes boards."""
